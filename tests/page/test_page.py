"""What a person sees, in a real browser, of a real cloud fed through the real wire."""

from tests.cloud.layered import sealed
from tests.page.browser import Page
from tests.page.camera import SOURCE_BYTES, jpeg
from tests.page.conftest import Cloud
from tests.scalable import coded

CAT = {(0, 1, 2): 1.0}
BOTH = {(0, 1, 2): 1.0, (1, 3, 0): 0.6}
WEAK = {(0, 0, 0): 0.2}


def card(camera: str, part: str = "") -> str:
    return f'[aria-label="Camera {camera}"] {part}'.strip()


def painted(camera: str, x: int, y: int) -> str:
    """Is there anything on the overlay at this point of the 320 x 320 picture? To be asked in the page."""
    return f"""(() => {{
      const canvas = document.querySelector({card(camera, "canvas")!r});
      const [x, y] = [{x} / 320 * canvas.width, {y} / 320 * canvas.height].map(Math.floor);
      return canvas.getContext('2d').getImageData(x - 2, y - 2, 5, 5).data.some((v) => v > 0);
    }})()"""


def test_an_empty_cloud_says_how_to_begin_and_the_first_frame_appears_by_itself(own_cloud: Cloud, page: Page) -> None:
    page.open(own_cloud.url)
    page.wait_text("#link", "live")
    page.wait_text("#empty", "Waiting for the first frame")
    assert page.text("#command") == (
        "curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' http://EDGE:8080/v1/frames"
    )
    assert not page.shown("#totals") and not page.js("document.querySelector('table').checkVisibility()")
    with own_cloud.edge() as edge:
        edge.send("door", CAT)
        page.wait_text(card("door"), "1 found")
    assert not page.shown("#empty")
    assert page.shown("#totals") and page.shown("table")


def test_a_frame_is_boxes_bytes_and_times(cloud: Cloud, page: Page) -> None:
    page.open(cloud.url)
    with cloud.edge() as edge:
        edge.send("gate", {}, BOTH)
        page.wait_text(card("gate"), "2 found")
        page.wait_text("tbody", "gate")
    assert page.text(card("gate", "ol")).split() == ["cat", "1.00", "dog", "0.60"]
    page.wait("document.querySelector('.frame').clientWidth === document.querySelector('.frame').clientHeight")
    page.wait(f"{painted('gate', 160, 120)} && {painted('gate', 0, 280)}")
    assert not page.js(painted("gate", 300, 20))
    assert page.js(f"document.querySelector({card('gate', 'canvas')!r}).ariaLabel") == "Boxes: cat 1.00, dog 0.60"
    assert f"of {SOURCE_BYTES / 1000:.1f} kB" in page.text(card("gate", "[data-is=bytes]"))
    assert "edge 18 ms" in page.text(card("gate", "summary"))
    assert not page.js(f"document.querySelector({card('gate', 'img')!r}).checkVisibility()")
    assert "the picture stayed at the edge" in page.text(card("gate", ".strip"))


def test_only_detections_of_the_score_asked_for_are_shown(cloud: Cloud, page: Page) -> None:
    page.open(cloud.url)
    with cloud.edge() as edge:
        edge.send("weak", WEAK)
    page.wait_text(card("weak"), "1 weaker not shown")
    assert not page.js(painted("weak", 40, 80))
    page.js("(least.value = 0.1, least.dispatchEvent(new Event('input')))")
    page.wait_text(card("weak"), "1 found")
    page.wait(painted("weak", 40, 80))


def test_pixels_come_when_asked_for_and_the_frame_is_held(cloud: Cloud, page: Page) -> None:
    page.open(cloud.url)
    with cloud.edge() as edge:
        edge.send("lobby", CAT)
        page.wait_text(card("lobby"), "1 found")
        assert edge.asked == []
        page.click(card("lobby", "[data-is=show]"))
        page.wait_text(card("lobby", ".strip"), "pixels fetched")
        assert len(edge.asked) == 1
        edge.send("lobby", BOTH)
        page.wait_text("tbody tr", "dog")
        assert "1 found" in page.text(card("lobby"))
        image = f"document.querySelector({card('lobby', 'img')!r})"
        assert page.js(f"[{image}.naturalWidth, {image}.checkVisibility()]") == [320, True]
        assert f"{len(jpeg()) / 1000:.1f} kB" in page.text(card("lobby", ".strip"))
        page.wait(painted("lobby", 240, 80))
        page.click(card("lobby", "[data-is=boxes]"))
        page.wait(f"!{painted('lobby', 240, 80)}")
        page.click(card("lobby", "[data-is=release]"))
        page.wait_text(card("lobby"), "2 found")
        assert page.js(painted("lobby", 240, 80)) and not page.shown(card("lobby", "[data-is=boxes]"))
        assert not page.js(f"{image}.checkVisibility()") and not page.js(f"{image}.hasAttribute('src')")


def test_what_a_frame_s_own_bytes_show_comes_first(layered_cloud: Cloud, page: Page) -> None:
    bundle = layered_cloud.bundle
    shot = coded.frame(bundle, 320, 240)
    base, full = (sealed(bundle, shot, [layer]) for layer in shot.layers)
    page.open(layered_cloud.url)
    with layered_cloud.edge() as edge:
        edge.layers["full"] = full
        edge.send_coded("yard", base)
        page.wait_text(card("yard"), "found")
        page.js(
            "new MutationObserver((seen) =>"
            " (window.states ??= []).push(...seen.map(({target}) => target.dataset.state)))"
            f".observe(document.querySelector({card('yard', '.view')!r}), {{attributeFilter: ['data-state']}})"
        )
        page.click(card("yard", "[data-is=show]"))
        page.wait_text(card("yard", ".strip"), "pixels fetched")
        assert f"{len(shot.layers[1].payload) / 1000:.1f} kB" in page.text(card("yard", ".strip"))
        assert edge.asked and page.js(f"document.querySelector({card('yard', 'img')!r}).naturalWidth") == 320
        page.wait("window.states.at(-1) === 'shown' && window.states.includes('glimpsed')")
    with layered_cloud.edge("edge-2") as edge:  # its pixels are gone, its own bytes are here
        edge.keeps_pictures = False
        edge.send_coded("gate", base)
        page.wait_text(card("gate"), "found")
        page.click(card("gate", "[data-is=show]"))
        page.wait_text(card("gate", ".strip"), "what its own bytes show")
        image = f"document.querySelector({card('gate', 'img')!r})"
        assert page.js(f"[{image}.naturalWidth, {image}.checkVisibility()]") == [320, True]
    page.errors.clear()  # 410


def test_a_camera_says_where_its_results_are_made(own_cloud: Cloud, page: Page) -> None:
    page.open(own_cloud.url)
    with own_cloud.edge() as edge:
        edge.send("mode", BOTH)
        page.wait_text(card("mode"), "2 found")
        assert page.text(card("mode", "[data-is=point]")) == "split · quality 16"
        assert "cloud" in page.js(f"document.querySelector({card('mode', '[data-stage=back]')!r}).className")
        edge.send_detections("mode", "dog")
        page.wait_text(card("mode"), "1 found")
        assert page.text(card("mode", "[data-is=point]")) == "edge · the whole network runs there"
        assert "the whole network" in page.js(f"document.querySelector({card('mode', '[data-is=point]')!r}).title")
        back = f"document.querySelector({card('mode', '[data-stage=back]')!r})"
        assert page.js(f"[{back}.className, {back}.hidden]") == ["edge", False]
        assert "edge 26 ms" in page.text(card("mode", "summary"))


def test_pixels_that_will_not_come_are_explained(cloud: Cloud, page: Page) -> None:
    page.open(cloud.url)
    with cloud.edge("edge-2") as edge:
        edge.keeps_pictures = False
        edge.send("yard", CAT)
        page.wait_text(card("yard"), "1 found")
        page.click(card("yard", "[data-is=show]"))
        page.wait_text(card("yard", ".strip"), "The edge no longer has this picture.")
        assert "the ring has gone round" in page.js(f"document.querySelector({card('yard', '[data-is=note]')!r}).title")
        page.click(card("yard", "[data-is=release]"))
        edge.send("yard", BOTH)
        page.wait_text(card("yard"), "2 found")
    page.click(card("yard", "[data-is=show]"))
    page.wait_text(card("yard", ".strip"), "The edge is out of reach.")
    assert [error.split(" ")[-1].rpartition("/")[2] for error in page.errors] == ["image?layer=full"] * 2
    page.errors.clear()


def test_results_can_be_filtered_and_a_row_holds_its_frame(cloud: Cloud, page: Page) -> None:
    with cloud.edge() as edge:
        edge.send("filter", CAT, BOTH, {(1, 0, 0): 1.0})
    page.open(cloud.url)
    page.wait("document.querySelector('tbody').rows.length >= 3")
    page.js("(filter.elements.camera.value = 'filter')")
    page.write("[name=label]", "dog")
    page.wait("document.querySelector('tbody').rows.length === 2")
    assert "cat" not in page.text("tbody")
    page.js("(filter.elements.min_score.value = 0.8, filter.dispatchEvent(new Event('input')))")
    page.wait("document.querySelector('tbody').rows.length === 1")
    page.write("[name=label]", "cat")
    page.wait_text("tbody", "cat")
    page.click("tbody tr:last-child button")
    page.wait_text(card("filter", ".strip"), "Back to live")
    page.wait_text(card("filter"), "1 found")
    page.write("[name=label]", "zebra")
    page.wait_text("#results-note", "No stored result matches")


def test_a_result_that_comes_while_the_table_loads_is_not_lost(cloud: Cloud, page: Page) -> None:
    page.open(cloud.url)
    page.wait_text("#link", "live")
    page.js(
        "(() => { const real = fetch; window.fetch = async (address) => { const answer = await real(address);"
        " if (String(address).includes('v1/results')) await new Promise((go) => window.go = go); return answer; };"
        " filter.dispatchEvent(new Event('input')); })()"
    )
    page.wait("window.go")
    with cloud.edge() as edge:
        edge.send("meanwhile", CAT)
        page.wait_text(card("meanwhile"), "1 found")
    page.js("window.go()")
    page.wait_text("tbody", "meanwhile")


def test_every_result_of_a_burst_counts_but_is_not_drawn_alone(cloud: Cloud, page: Page) -> None:
    page.open(cloud.url)
    page.wait_text("#link", "live")
    page.js(
        "(() => { const pen = CanvasRenderingContext2D.prototype, clear = pen.clearRect; window.drawn = 0;"
        " pen.clearRect = function (...all) { window.drawn += 1; return clear.apply(this, all); };"
        " window.frames = 0; (function count() { window.frames += 1; requestAnimationFrame(count); })(); })()"
    )
    with cloud.edge() as edge:
        edge.send("burst", *([BOTH] * 299), {(0, 0, 0): 0.9})
        page.wait_text(card("burst"), "1 found")
    drawn, frames = page.js("[window.drawn, window.frames]")
    cards = page.js("document.querySelectorAll('.camera').length")
    assert 0 < drawn <= frames * cards
    assert page.js("document.querySelector('tbody').rows.length") <= 30
    assert page.js(f"document.querySelector({card('burst', '.line')!r}).getAttribute('d').split('L').length") == 120


def test_pixels_can_be_had_by_keyboard(cloud: Cloud, page: Page) -> None:
    page.open(cloud.url)
    with cloud.edge() as edge:
        edge.send("keys", CAT)
        page.wait_text(card("keys"), "1 found")
        page.js("document.querySelector('.skip').focus()")
        for _ in range(60):
            page.press("Tab")
            if page.js(f"document.activeElement.matches({card('keys', '[data-is=show]')!r})"):
                break
        page.press("Enter")
        page.wait_text(card("keys", ".strip"), "pixels fetched")
        assert page.js("document.activeElement.innerText") == "Back to live"
        page.press("Enter")
        page.wait_text(card("keys", ".strip"), "Boxes only")
        assert page.js("document.activeElement.innerText") == "Show pixels"


def test_it_fits_a_telephone_and_the_dark(cloud: Cloud, page: Page) -> None:
    with cloud.edge() as edge:
        edge.send("a-camera-with-a-name-that-is-as-long-as-a-name-may-be-0123456789", BOTH)
    for width, dark in ((360, True), (900, False)):
        page.open(cloud.url, width=width, dark=dark)
        page.wait("document.querySelector('tbody').rows.length > 0")
        assert page.js("document.documentElement.scrollWidth") <= width
        lightness = page.js("parseFloat(getComputedStyle(document.body).backgroundColor.match(/[0-9.]+/)[0])")
        assert (lightness < 0.4) == dark


def test_it_finds_the_cloud_again(cloud: Cloud, page: Page) -> None:
    with cloud.edge() as edge:
        edge.send("again", CAT)
    page.open(cloud.url)
    page.wait_text("#link", "live")
    cloud.service.kill()
    page.wait_text("#link", "reconnecting")
    cloud.service.start()
    with cloud.edge() as edge:
        edge.send("again", BOTH)
        page.wait_text("#link", "live", seconds=20)
        page.wait_text(card("again"), "2 found")
    page.errors.clear()  # refused connections


def test_a_page_that_nobody_sees_takes_no_connection(cloud: Cloud, page: Page) -> None:
    page.open(cloud.url)
    page.wait_text("#link", "live")
    page.js(
        "(Object.defineProperty(document, 'hidden', {get: () => window.away, configurable: true}), window.away = true,"
        " document.dispatchEvent(new Event('visibilitychange')))"
    )
    with cloud.edge() as edge:
        edge.send("away", CAT)
        assert not page.js(f"document.querySelector({card('away')!r})")
        page.js("(window.away = false, document.dispatchEvent(new Event('visibilitychange')))")
        page.wait_text(card("away"), "1 found")
