#!/usr/bin/env node
// SPDX-License-Identifier: MIT
// pg-boss's rates, in one process. It polls twice a second, so there is no wake to measure.
// Usage: pg_boss URL single [JOBS] | drain [JOBS]
// The schema raw_boss of that database is created anew, and removed at the end. Jobs are fetched and completed a thousand
// at a time by two callers, which is the fastest that it offers.
import PgBoss from "pg-boss";
import { batch, callers, connect, median, now, numbered, rateOfCalls, run } from "./common.mjs";

const schema = "raw_boss";
const takers = 2;

async function withFresh(url, work) {
    const pool = connect(url);
    await pool.query(`DROP SCHEMA IF EXISTS ${schema} CASCADE`);
    const db = { executeSql: (text, values) => pool.query(text, values) };
    const boss = new PgBoss({ db, schema, supervise: false, schedule: false });
    boss.on("error", console.error);
    await boss.start();
    await boss.createQueue("bench");
    await pool.query("CHECKPOINT");
    const result = await work(boss);
    await boss.stop({ graceful: false });
    await pool.query(`DROP SCHEMA ${schema} CASCADE`);
    await pool.end();
    return result;
}

const single = (url) => (jobs) =>
    withFresh(url, (boss) => rateOfCalls(jobs, (i) => boss.send("bench", numbered(i))));

const drain = (url) => (jobs) =>
    withFresh(url, async (boss) => {
        for (let first = 0; first < jobs; first += batch)
            await boss.insert(
                Array.from({ length: Math.min(batch, jobs - first) }, (_, i) => ({ name: "bench", data: numbered(first + i) }))
            );
        let count = 0;
        const start = now();
        await Promise.all(
            Array.from({ length: takers }, async () => {
                while (count < jobs) {
                    const many = await boss.fetch("bench", { batchSize: batch });
                    if (many.length > 0) await boss.complete("bench", many.map((job) => job.id));
                    count += many.length;
                }
            })
        );
        return jobs / (now() - start);
    });

await run({
    single: {
        number: 6000,
        measure: async (url, jobs) => `pg_boss_single_${callers}_callers_jobs_per_s ${await median(single(url), jobs)}`,
    },
    drain: {
        number: 50000,
        measure: async (url, jobs) => `pg_boss_drain_jobs_per_s ${await median(drain(url), jobs)}`,
    },
});
