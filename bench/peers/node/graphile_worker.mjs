#!/usr/bin/env node
// SPDX-License-Identifier: MIT
// graphile-worker's rates and its latency, in one process.
// Usage: graphile_worker URL single [JOBS] | drain [JOBS] | wake [SAMPLES]
// The schema raw_graphile of that database is created anew, and removed at the end. It takes and ends jobs in batches, as
// its own performance test does; by default it does so singly, and is ten times slower.
import { Logger, makeWorkerUtils, run as startRunner } from "graphile-worker";
import { batch, callers, connect, median, now, numbered, pause, rateOfCalls, run } from "./common.mjs";

const schema = "raw_graphile";
const warm = 5;
const logger = new Logger(() => (level, message) => level === "error" && console.error(message));

// work gets a pool, the utilities, and a function that starts a runner with a handler.
async function withFresh(url, work) {
    const pgPool = connect(url);
    await pgPool.query(`DROP SCHEMA IF EXISTS ${schema} CASCADE`);
    const options = { pgPool, schema, logger };
    const utils = await makeWorkerUtils(options);
    await utils.migrate();
    await pgPool.query("CHECKPOINT");
    const start = (handle) =>
        startRunner({
            ...options,
            noHandleSignals: true,
            taskList: { bench: handle },
            preset: {
                worker: {
                    concurrentJobs: 24,
                    localQueue: { size: 500, refetchDelay: { durationMs: 10 } },
                    completeJobBatchDelay: 0,
                    failJobBatchDelay: 0,
                },
            },
        });
    const result = await work(pgPool, utils, start);
    await utils.release();
    await pgPool.query(`DROP SCHEMA ${schema} CASCADE`);
    await pgPool.end();
    return result;
}

const single = (url) => (jobs) =>
    withFresh(url, (_, utils) => rateOfCalls(jobs, (i) => utils.addJob("bench", numbered(i))));

// From the start of the runner until no job is left in the table.
const drain = (url) => (jobs) =>
    withFresh(url, async (pool, utils, start) => {
        for (let first = 0; first < jobs; first += batch) {
            const many = Array.from({ length: Math.min(batch, jobs - first) }, (_, i) => numbered(first + i));
            await utils.addJobs(many.map((payload) => ({ identifier: "bench", payload })));
        }
        let count = 0;
        const began = now();
        const runner = await start(async () => void count++);
        while (count < jobs) await pause(0.001);
        while ((await pool.query(`SELECT FROM ${schema}._private_jobs LIMIT 1`)).rowCount > 0) await pause(0.001);
        const rate = jobs / (now() - began);
        await runner.stop();
        return rate;
    });

// From the call to the handler's start, the worker asleep; pauses as of neoq_postgres.
const wake = (url, samples) =>
    withFresh(url, async (_, utils, start) => {
        let arrived;
        const micros = [];
        const runner = await start(async ({ clock }) => arrived((now() - clock) * 1e6));
        for (let i = 0; i < warm + samples; i++) {
            await pause(0.005 + ((i * 7919) % 61) / 1e4);
            const arrival = new Promise((resolve) => (arrived = resolve));
            await utils.addJob("bench", { clock: now() });
            const lasted = await arrival;
            if (i >= warm) micros.push(lasted);
        }
        await runner.stop();
        micros.sort((a, b) => a - b);
        const at = (part) => micros[Math.floor(samples * part)].toFixed(1);
        return `graphile_worker_wake_p50_us ${at(0.5)}\ngraphile_worker_wake_p99_us ${at(0.99)}`;
    });

await run({
    single: {
        number: 6000,
        measure: async (url, jobs) =>
            `graphile_worker_single_${callers}_callers_jobs_per_s ${await median(single(url), jobs)}`,
    },
    drain: {
        number: 50000,
        measure: async (url, jobs) => `graphile_worker_drain_jobs_per_s ${await median(drain(url), jobs)}`,
    },
    wake: { number: 300, measure: wake },
});
