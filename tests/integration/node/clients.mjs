/*
 * clients.mjs HTTP-PORT RESP-PORT EVENT - Node's usual clients against a running server, unchanged: node-redis (RESP2
 * and RESP3), ioredis, fetch, undici and the http module's keep-alive agent. Prints one JSON object: what each has seen.
 * Whatever throws ends the process with exit code 1.
 */
import assert from 'node:assert/strict';
import http from 'node:http';
import { createClient } from 'redis';
import Redis from 'ioredis';
import { Agent, request } from 'undici';

const [httpPort, respPort, event] = process.argv.slice(2);
const base = `http://127.0.0.1:${httpPort}`;
const seen = {};

async function nodeRedis(version) {
    const client = createClient({ socket: { port: Number(respPort), host: '127.0.0.1' }, RESP: version });
    client.on('error', (error) => { throw error; });
    await client.connect();
    assert.equal(await client.ping(), 'PONG');
    const user = `node-redis-${version}`;
    const hold = await client.sendCommand(['HOLD', event, user, 'POOL', 'ga', '1']);
    assert.equal(hold.length, 2);
    const many = await Promise.all(Array.from({ length: 200 }, (_, n) =>
        client.sendCommand(['HOLD', event, `${user}-${n}`, 'POOL', 'ga', '1'])));
    assert.equal(new Set(many.map((answer) => answer[0])).size, 200);
    await assert.rejects(client.sendCommand(['HOLD', event, user, 'SEAT', 'Z/1/1']), /^\w*Error: NOSEAT .*unit=Z\/1\/1/);
    const got = await client.sendCommand(['GETHOLD', hold[0]]);
    const state = version === 3 ? (got.state ?? got.get?.('state')) : got[got.indexOf('state') + 1];
    assert.equal(state, 'held');
    assert.equal(await client.sendCommand(['CONFIRM', hold[0], user]), 'OK');
    await client.close();
    seen[user] = 201;
}

async function ioRedis() {
    const client = new Redis({ port: Number(respPort), host: '127.0.0.1', maxRetriesPerRequest: 1 });
    const hold = await client.call('HOLD', event, 'ioredis', 'POOL', 'ga', '2');
    const pipeline = client.pipeline();
    for (let n = 0; n < 100; n++)
        pipeline.call('HOLD', event, `ioredis-${n}`, 'POOL', 'ga', '1');
    for (const [error] of await pipeline.exec())
        assert.equal(error, null);
    assert.equal(await client.call('RELEASE', hold[0], 'ioredis'), 'OK');
    await assert.rejects(client.call('CONFIRM', hold[0], 'ioredis'), /RELEASED/);
    assert.match(await client.info(), /holdfast|redis/i);
    await client.quit();
    seen.ioredis = 100;
}

const holdBody = (user) => JSON.stringify({ user, pools: [{ name: 'ga', quantity: 1 }] });

async function byFetch() {
    for (let n = 0; n < 20; n++) {
        const answer = await fetch(`${base}/v1/events/${event}/holds`, {
            method: 'POST', body: holdBody(`fetch-${n}`), headers: { 'content-type': 'application/json; charset=utf-8' },
        });
        assert.equal(answer.status, 201);
        assert.equal((await answer.json()).state, 'held');
    }
    const refused = await fetch(`${base}/v1/holds/0198c0de-0000-7000-8000-000000000000`);
    assert.equal(refused.status, 404);
    assert.equal((await refused.json()).code, 'nohold');
    seen.fetch = 20;
}

async function byUndici() {
    const dispatcher = new Agent({ connections: 1, pipelining: 8 });
    const answers = await Promise.all(Array.from({ length: 50 }, async (_, n) => {
        const answer = await request(`${base}/v1/events/${event}/holds`, { method: 'POST', body: holdBody(`undici-${n}`), dispatcher });
        assert.equal(answer.statusCode, 201);
        return answer.body.json();
    }));
    assert.equal(new Set(answers.map((answer) => answer.hold)).size, 50);
    await dispatcher.close();
    seen.undici = 50;
}

function byAgent() {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    const ports = new Set();
    const one = (n) => new Promise((resolve, reject) => {
        const sent = http.request({ port: httpPort, host: '127.0.0.1', agent, method: 'POST', path: `/v1/events/${event}/holds` }, (answer) => {
            let text = '';
            ports.add(answer.socket.localPort);
            answer.on('data', (data) => { text += data; });
            answer.on('end', () => {
                try {
                    assert.equal(answer.statusCode, 201);
                    resolve(JSON.parse(text));
                } catch (error) {
                    reject(error);
                }
            });
        });
        sent.on('error', reject);
        sent.end(holdBody(`agent-${n}`)); /* one write: the module gives it its Content-Length */
    });
    return (async () => {
        for (let n = 0; n < 20; n++)
            await one(n);
        assert.equal(ports.size, 1, 'one connection is kept alive over all requests');
        agent.destroy();
        seen.agent = 20;
    })();
}

await nodeRedis(2);
await nodeRedis(3);
await ioRedis();
await byFetch();
await byUndici();
await byAgent();
console.log(JSON.stringify(seen));
process.exit(0);
