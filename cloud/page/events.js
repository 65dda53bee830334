// The event stream: every result as it is stored. EventSource resumes a broken stream by itself (Last-Event-ID);
// a refused one it abandons, so that is begun anew here, each time a little later. A page nobody sees lets go of its
// stream: browsers give all tabs of one site six connections together.

const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 15_000;

// onState: "live" | "reconnecting". onOpen runs at every opening: whoever listens then fetches what it may have missed.
export function follow({onResult, onState, onOpen}) {
  let source = null;
  let later = 0;
  let wait = FIRST_WAIT_MS;

  function open() {
    source = new EventSource("v1/events");
    source.addEventListener("open", () => {
      wait = FIRST_WAIT_MS;
      onState("live");
      onOpen();
    });
    source.addEventListener("result", (event) => onResult(JSON.parse(event.data)));
    source.addEventListener("error", broken);
  }

  function broken() {
    onState("reconnecting");
    if (source.readyState !== EventSource.CLOSED) return;
    later = setTimeout(open, wait);
    wait = Math.min(LONGEST_WAIT_MS, 2 * wait);
  }

  function attend() {
    clearTimeout(later);
    source?.close();
    if (!document.hidden) open();
  }

  document.addEventListener("visibilitychange", attend);
  attend();
}
