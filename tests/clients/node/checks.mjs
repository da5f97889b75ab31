// What the clients' checks share: the mesh's address, named checks, and the things they ask for.

export const PROMPT = "Say hello to the signalman.";
export const TOOL = "look_up_weather";
export const PARAMETERS = {
  type: "object",
  properties: { city: { type: "string" }, days: { type: "integer" } },
  required: ["city", "days"],
  additionalProperties: false,
};
/** A picture of one pixel. */
export const IMAGE =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC";
export const IMAGE_URL = `data:image/png;base64,${IMAGE}`;

export function equal(got, want) {
  if (got !== want) throw new Error(`${JSON.stringify(got)} is not ${JSON.stringify(want)}`);
}

export function that(condition, what) {
  if (!condition) throw new Error(typeof what === "string" ? what : JSON.stringify(what));
}

/** Returns the error of a kind in which `ask` must end. */
export async function raises(kind, ask) {
  try {
    await ask();
  } catch (error) {
    if (error instanceof kind) return error;
    throw error;
  }
  throw new Error(`no ${kind.name} was raised`);
}

/** Runs each check with the mesh's address; prints one line for each, ends with status 1 if one fails. */
export async function run(checks) {
  const at = process.argv.indexOf("--address");
  const address = `http://${process.argv[at + 1]}`;
  let failed = checks.length === 0 ? 1 : 0;
  for (const check of checks) {
    try {
      await check(address);
      console.log("passed", check.name);
    } catch (error) {
      failed += 1;
      console.log("failed", check.name);
      console.error(error);
    }
  }
  process.exit(failed ? 1 : 0);
}
