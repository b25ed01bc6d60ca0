// The agent's HTTP API. Every call ends in data or in an Error with the agent's own words.

export class ApiError extends Error {
  constructor(message, { lost = false } = {}) {
    super(message);
    /** Whether the agent could not be reached at all. */
    this.lost = lost;
  }
}

async function call(path, params, signal) {
  const body = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    for (const each of [value].flat()) if (each !== undefined) body.append(name, each);
  }
  let response;
  try {
    const query = body.toString();
    // Long expressions do not fit in an address.
    response = query.length < 1500
      ? await fetch(`/api/v1/${path}${query ? `?${query}` : ""}`, { signal })
      : await fetch(`/api/v1/${path}`, { method: "POST", body, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The agent does not answer.", { lost: true });
  }
  let answer;
  try {
    answer = await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(`The agent answered ${response.status} and no JSON.`, { lost: response.status >= 502 });
  }
  if (answer.status !== "success") throw new ApiError(answer.error ?? `The agent answered ${response.status}.`);
  return answer;
}

/** A window of time cut into steps that stay where they are as the window moves. */
export function steps(rangeSeconds, count = 240) {
  const nice = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600];
  const step = nice.find((s) => s * count >= rangeSeconds) ?? nice.at(-1);
  const end = Math.floor(Date.now() / 1000 / step) * step;
  return { start: end - Math.floor(rangeSeconds / step) * step, end, step };
}

export async function queryRange(expr, { start, end, step }, signal) {
  return call("query_range", { query: expr, start, end, step }, signal);
}

export async function query(expr, time, signal) {
  return call("query", { query: expr, time }, signal);
}

export async function metricNames(signal) {
  return (await call("label/__name__/values", {}, signal)).data;
}

export async function metadata(signal) {
  return (await call("metadata", {}, signal)).data;
}
