// The cloud's clock as seen from here: ages and rates are told in its time, whatever this machine's clock says.

let offset = 0;

// The Date header counts whole seconds, so its middle is half a second later; only a real difference is adopted.
export function heard(answer) {
  const told = Date.parse(answer.headers.get("Date") ?? "");
  if (Number.isNaN(told)) return;
  const difference = told + 500 - Date.now();
  offset = Math.abs(difference) > 1500 ? difference : 0;
}

export const now = () => Date.now() + offset;
