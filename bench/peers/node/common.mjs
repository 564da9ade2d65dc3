// SPDX-License-Identifier: MIT
// What the programs that measure peers in Node share.
import pg from "pg";

export const callers = 16;
export const batch = 1000;
const passes = 3; // each rate is the median of so many

export const numbered = (number) => ({
    to: `${number.toString(16).padStart(8, "0")}@example.org`,
    template: "welcome",
    locale: "en-GB",
});

export const now = () => Number(process.hrtime.bigint()) / 1e9;
export const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1e3));

// A pool with a connection for each caller. One that fails shows in the call that uses it.
export function connect(url) {
    const pool = new pg.Pool({ connectionString: url, max: callers + 4 });
    const ignore = () => {};
    return pool.on("error", ignore).on("connect", (client) => client.on("error", ignore));
}

// As often as said, from several callers at once. Gives the calls a second.
export async function rateOfCalls(count, call) {
    const each = Math.floor(count / callers);
    const start = now();
    await Promise.all(
        Array.from({ length: callers }, async (_, caller) => {
            for (let i = 0; i < each; i++) await call(caller * each + i);
        })
    );
    return (each * callers) / (now() - start);
}

export async function median(measure, number) {
    const values = [];
    for (let i = 0; i < passes; i++) values.push(await measure(number));
    return values.sort((a, b) => a - b)[passes >> 1].toFixed(0);
}

// Runs what the command line names: URL and one of `parts`, each with its number. It gives the lines to print.
export async function run(parts) {
    const [url, what, number] = process.argv.slice(2);
    const part = parts[what];
    if (!part) {
        console.error(`usage: URL ${Object.keys(parts).join(" | ")} [NUMBER]`);
        process.exit(2);
    }
    console.log(await part.measure(url, Number(number ?? part.number)));
    process.exit(0); // whatever a peer still has open
}
