// The event stream: every result as it is stored. EventSource resumes a broken stream by itself (Last-Event-ID);
// a refused one it abandons, so that is begun anew here, each time a little later.

const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 15_000;

// onState: "live" | "reconnecting". onOpen runs at every opening: whoever listens then fetches what it may have missed.
export function follow({onResult, onState, onOpen}) {
  let wait = FIRST_WAIT_MS;

  function open() {
    const source = new EventSource("v1/events");
    source.addEventListener("open", () => {
      wait = FIRST_WAIT_MS;
      onState("live");
      onOpen();
    });
    source.addEventListener("result", (event) => onResult(JSON.parse(event.data)));
    source.addEventListener("error", () => {
      onState("reconnecting");
      if (source.readyState !== EventSource.CLOSED) return;
      setTimeout(open, wait);
      wait = Math.min(LONGEST_WAIT_MS, 2 * wait);
    });
  }

  open();
}
