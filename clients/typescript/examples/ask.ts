/** Asks the mesh on 127.0.0.1:8080: `node dist/examples/ask.js "Why is the sky blue?"`; SIGNALBOX_SERVER and SIGNALBOX_KEY name another and a key. */

import { Client } from "../src/index.js";

const { SIGNALBOX_SERVER, SIGNALBOX_KEY, SIGNALBOX_MODEL = "auto" } = process.env;
const client = new Client(SIGNALBOX_SERVER, SIGNALBOX_KEY);
const answer = client.ask(SIGNALBOX_MODEL, process.argv[2] ?? "Why is the sky blue?");
for await (const text of answer) process.stdout.write(text);
console.log(`\n${answer.finished?.model}: ${Number(answer.finished?.costNanousd) / 1e9} USD`);
