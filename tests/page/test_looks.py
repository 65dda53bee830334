"""What can be done with a frame that somebody looks at: wiped, made sharp in part, followed, played."""

import re
from typing import Any

import numpy as np

from common.scalable import PictureLayers
from common.scalable.regions import Region
from tests.cloud.layered import sealed
from tests.page.browser import Page
from tests.page.conftest import Looks
from tests.page.test_page import BOTH, CAT, card
from tests.scalable import coded

FAINT = {(0, 1, 2): 0.2}


def element(camera: str, part: str) -> str:
    return f"document.querySelector({card(camera, part)!r})"


def colour_at(camera: str, part: str, x: float, y: float) -> str:
    """What is in an image at this place, as [r, g, b]. To be asked in the page."""
    return f"""(() => {{
      const image = {element(camera, part)};
      const [width, height] = [image.naturalWidth, image.naturalHeight];
      const canvas = Object.assign(document.createElement('canvas'), {{width, height}});
      const pen = canvas.getContext('2d');
      pen.drawImage(image, 0, 0);
      return [...pen.getImageData({x} * canvas.width, {y} * canvas.height, 1, 1).data].slice(0, 3);
    }})()"""


def differ(camera: str, x: float, y: float) -> str:
    """Whether what is on top is another picture here than what is beneath."""
    top, beneath = (colour_at(camera, f"[data-is={part}]", x, y) for part in ("picture", "beneath"))
    return f"JSON.stringify({top}) !== JSON.stringify({beneath})"


def test_the_picture_is_wiped_off_what_came_first(looks: Looks, page: Page) -> None:
    bundle = looks.denoising
    shot = coded.frame(bundle, 320, 240)
    base, clean, noisy = shot.layers
    page.open(looks.cloud.url)
    with looks.cloud.edge(bundle=bundle) as edge:
        edge.layers |= {"clean": sealed(bundle, shot, [clean]), "noisy": sealed(bundle, shot, [clean, noisy])}
        edge.send_coded("wipe", sealed(bundle, shot, [base]))
        page.wait_text(card("wipe"), "found")
        assert not page.shown(card("wipe", "[data-is=wiping]")) and not page.shown(card("wipe", "[data-is=part]"))
        page.click(card("wipe", "[data-is=show]"))
        page.wait_text(card("wipe", ".strip"), "pixels fetched")
    fetched = (len(clean.payload) + len(noisy.payload)) / 1000
    assert f"{fetched:.1f} kB" in page.text(card("wipe", ".strip"))
    assert page.text(card("wipe", "[data-is=wiping]")).split() == ["clean", "noisy"]
    clip = f"getComputedStyle({element('wipe', '[data-is=picture]')}).clipPath"
    assert page.js(clip) == "inset(0px 0px 0px 0%)"
    page.click(card("wipe", "[data-is=wipe]"))
    page.wait(f"Math.abs({element('wipe', '[data-is=wipe]')}.value - 50) < 3")
    page.wait(f"Math.abs(parseFloat({clip}.split(' ')[3]) - 50) < 3")
    page.press("ArrowRight")
    page.wait(f"{element('wipe', '[data-is=wipe]')}.value > 50")
    page.click(card("wipe", "[data-is=release]"))
    page.wait(f"!{element('wipe', '[data-is=beneath]')}.hasAttribute('src')")
    assert not page.shown(card("wipe", "[data-is=wiping]"))


def test_of_a_picture_too_large_for_its_noise_the_clean_one_is_shown(looks: Looks, page: Page) -> None:
    bundle = looks.denoising
    shot = coded.frame(bundle, 320, 240)
    large = shot._replace(picture=np.broadcast_to(shot.picture[:1, :1], (1800, 2400, 3)))
    clean = PictureLayers.open(bundle).encode("clean", large.picture, [], 320)
    page.open(looks.cloud.url)
    with looks.cloud.edge(bundle=bundle) as edge:
        edge.layers["clean"] = sealed(bundle, large, [clean])
        edge.send_coded("large", sealed(bundle, large, shot.layers[:1]))
        page.wait_text(card("large"), "found")
        page.click(card("large", "[data-is=show]"))
        page.wait_text(card("large", ".strip"), "pixels fetched")
        assert len(edge.asked) == 1
    assert page.js(f"{element('large', '[data-is=picture]')}.naturalWidth") == 2400
    assert not page.shown(card("large", "[data-is=wiping]"))


def test_a_part_is_made_sharp(looks: Looks, page: Page) -> None:
    bundle = looks.tiled
    shot, layers = coded.frame(bundle, 320, 240), PictureLayers.open(bundle)
    base, low, full = shot.layers
    cuts: list[tuple[list[Region], int]] = []

    def some_tiles(request: Any) -> bytes:
        regions = [Region(r.x, r.y, r.width, r.height) for r in request.regions]
        part = layers.cut(full, regions, 320, 240)
        cuts.append((regions, len(part.payload)))
        return sealed(bundle, shot, [part] if request.HasField("below") else [low, part])

    page.open(looks.cloud.url)
    with looks.cloud.edge(bundle=bundle) as edge:
        edge.layers |= {"low": sealed(bundle, shot, [low]), "full": some_tiles}
        edge.send_coded("part", sealed(bundle, shot, [base]))
        page.wait_text(card("part"), "found")
        page.click(card("part", "[data-is=part]"))
        page.wait_text(card("part", ".strip"), "Draw a box")
        assert page.js(f"document.activeElement === {element('part', '[data-is=box]')}")
        assert cuts == [] and len(edge.asked) == 1
        page.drag(card("part", ".frame"), (0.1, 0.1), (0.3, 0.35))
        page.wait_text(card("part", ".strip"), "made sharp")
        assert f"{cuts[0][1]} B fetched" in page.text(card("part", ".strip"))
        (region,), _ = cuts[0]
        assert abs(region.x - 32) < 3 and abs(region.y - 24) < 3
        assert abs(region.width - 64) < 3 and abs(region.height - 60) < 3
        page.wait(differ("part", 0.2, 0.2))
        assert not page.js(differ("part", 0.8, 0.8))
        # By keyboard, and what was sharp stays so.
        before = page.js(f"{element('part', '[data-is=box]')}.ariaLabel")
        for _ in range(12):
            page.press("ArrowRight")
        page.press("ArrowDown", shift=True)
        assert page.js(f"{element('part', '[data-is=box]')}.ariaLabel") != before
        page.press("Enter")
        page.wait_text(card("part", ".strip"), "76 pixels made sharp")
        assert page.js(differ("part", 0.2, 0.2)) and page.js(differ("part", 0.8, 0.2))
        assert not page.js(differ("part", 0.8, 0.8))
        page.click(card("part", "[data-is=show]"))
        page.wait_text(card("part", ".strip"), "pixels fetched")
        page.wait(differ("part", 0.8, 0.8))
        assert not page.shown(card("part", "[data-is=box]"))


def test_a_part_that_will_not_come_leaves_what_is_here(looks: Looks, page: Page) -> None:
    bundle = looks.tiled
    shot = coded.frame(bundle, 320, 240)
    base, low, _ = shot.layers
    page.open(looks.cloud.url)
    with looks.cloud.edge(bundle=bundle) as edge:
        edge.keeps_pictures = False
        edge.send_coded("away", sealed(bundle, shot, [base, low]))
        page.wait_text(card("away"), "found")
        page.click(card("away", "[data-is=part]"))
        page.wait_text(card("away", ".strip"), "Draw a box")
        page.press("Enter")
        page.wait_text(card("away", ".strip"), "The edge no longer has this picture.")
        assert page.shown(card("away", "[data-is=picture]")) and not page.shown(card("away", "[data-is=box]"))
        page.click(card("away", "[data-is=part]"))
        page.wait_text(card("away", ".strip"), "Draw a box")
        page.errors.clear()  # 410


def test_tracks_have_numbers_trails_and_a_list(looks: Looks, page: Page) -> None:
    page.open(looks.cloud.url)
    with looks.cloud.edge() as edge:
        edge.send("walk", *[CAT] * 4)
        page.wait_text(card("walk", "[data-is=list]"), "cat #")
        number = re.search(r"#[0-9]+", page.text(card("walk", "[data-is=list]")))
        page.wait_text(card("walk", "[data-is=tracks]"), f"cat {number[0] if number else 'nowhere'}")
        assert "since" in page.text(card("walk", "[data-is=tracks]"))
        hues = [
            f"{element('walk', f'[data-is={part}] li')}.style.getPropertyValue('--hue')" for part in ("list", "tracks")
        ]
        assert page.js(hues[0]) == page.js(hues[1]) != ""


def test_what_is_followed_stays_shown_when_it_is_faint(looks: Looks, page: Page) -> None:
    page.open(looks.cloud.url)
    page.wait_text("#link", "live")
    with looks.cloud.edge() as edge:
        edge.send("steady", *[CAT] * 4, FAINT)
        page.wait_text(card("steady", "[data-is=list]"), "0.20")
        assert page.text(card("steady", "[data-is=count]")) == "1 found"
        page.js("(least.value = 0.9, least.dispatchEvent(new Event('input')))")
        page.wait_text(card("steady", "[data-is=count]"), "1 found")
        edge.send("steady", *[FAINT] * 31)
        page.wait_text(card("steady", "[data-is=count]"), "1 weaker not shown")
        assert "tiny" in page.text(card("steady", "[data-is=point]"))


def test_pointing_at_a_track_shows_its_way(looks: Looks, page: Page) -> None:
    middle = f"""(() => {{
      const canvas = {element("way", "canvas")};
      const [x, y] = [canvas.width * 200 / 320 + 3, canvas.height * 120 / 320].map(Math.floor);
      return canvas.getContext('2d').getImageData(x, y, 1, 1).data[3];
    }})()"""
    page.open(looks.cloud.url)
    with looks.cloud.edge() as edge:
        edge.send("way", *[CAT] * 4)
        page.wait_text(card("way", "[data-is=tracks]"), "cat #")
        assert page.js(middle) < 100
        page.point(card("way", "[data-is=tracks] li"))
        page.wait(f"{middle} > 200")
        page.point("#results-title")
        page.wait(f"{middle} < 100")


def test_a_trail_is_where_a_track_was_up_to_a_result(looks: Looks, page: Page) -> None:
    page.open(looks.cloud.url)
    trails = page.js(
        "import('/history.js').then(({History}) => { const history = new History(); const at = (number, x, id) =>"
        " ({number, stored_at: '', bytes: {coded: 1, source: 1}, detections: [{box: [x, 0, x + 2, 4], track_id: id}]});"
        " const all = [at(1, 10, 7), at(2, 12, 7), at(3, 0, undefined), at(4, 50, 8), at(5, 15, 7)];"
        " all.forEach((one) => history.add(one)); return all.map((one) => [...history.trails(one)]); })"
    )
    assert trails[0] == [[7, [[11, 2]]]]
    assert trails[2] == [[7, [[11, 2], [13, 2]]]]
    assert trails[4] == [[7, [[11, 2], [13, 2], [16, 2]]], [8, [[51, 2]]]]


def test_a_clip_plays(looks: Looks, page: Page) -> None:
    page.open(looks.cloud.url)
    with looks.cloud.edge() as edge:
        edge.send("film", *[BOTH] * 5)
        page.wait_text(card("film"), "found")
        played = page.js(
            "(async () => { const address = 'v1/cameras/film/clip?since=2020-01-01T00:00:00Z&until=2099-01-01T00:00:00Z"
            "&layer=original&boxes=1&wait=30s';"
            " let answer; do answer = await fetch(address); while (answer.status === 202);"
            " const told = answer.headers.get('Midstream-Frames');"
            " const video = Object.assign(document.createElement('video'), {muted: true, src: address});"
            " await new Promise((done) => { video.onended = video.onerror = done; video.play().catch(done); });"
            " return [told, video.error?.message ?? '', video.duration > 0, video.videoWidth, video.ended]; })()"
        )
    assert played == ["5/5", "", True, 320, True]


def test_it_all_fits_a_telephone(looks: Looks, page: Page) -> None:
    bundle = looks.tiled
    shot = coded.frame(bundle, 320, 240)
    page.open(looks.cloud.url, width=360, dark=True)
    with looks.cloud.edge(bundle=bundle) as edge:
        edge.send_coded("telephone", sealed(bundle, shot, shot.layers))
        page.wait_text(card("telephone"), "found")
        page.click(card("telephone", "[data-is=part]"))
        page.wait_text(card("telephone", ".strip"), "Draw a box")
        page.click(card("telephone", "[data-is=show]"))
        page.wait_text(card("telephone", ".strip"), "pixels fetched")
        page.drag(card("telephone", "[data-is=wipe]"), (0.03, 0.5), (0.6, 0.5))
        page.wait(f"{element('telephone', '[data-is=wipe]')}.value > 40")
        assert page.js("document.documentElement.scrollWidth") <= 360
