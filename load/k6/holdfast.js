// holdfast.js - what the scenarios share: where the server is, its commands over HTTP, what counts as a failure.
//
// In the environment:
//   HOLDFAST_URL      http://127.0.0.1:7780
//   HOLDFAST_KEY      an operator's API key, where the server wants one
//   RATE, SECONDS     arrivals a second, and how long (each scenario has its own defaults)
//   P99_MS            the threshold of the 99th percentile (1000)
import http from 'k6/http'
import { check } from 'k6'
import { Counter } from 'k6/metrics'

const url = __ENV.HOLDFAST_URL || 'http://127.0.0.1:7780'
const headers = { 'Content-Type': 'application/json' }
if (__ENV.HOLDFAST_KEY) headers.Authorization = `Bearer ${__ENV.HOLDFAST_KEY}`

export const held = new Counter('units_held')
export const sold = new Counter('units_sold')
export const refused = new Counter('refusals')

// A refusal is an answer. What is none: no answer, 400, 401, 404, 5xx.
http.setResponseCallback(http.expectedStatuses({ min: 200, max: 299 }, 403, 409, 410))

export function number(name, otherwise) {
  const value = __ENV[name] === undefined ? otherwise : Number(__ENV[name])
  if (!(value > 0)) throw new Error(`${name} is '${__ENV[name]}': expected a number above 0`)
  return value
}

// Options of a scenario: arrivals by schedule, whatever the server does, and thresholds: every answer is one of those that may
// be, nothing was dropped for want of virtual users, and what the scenario says of its counters.
export function options(scenario, thresholds) {
  return {
    scenarios: { crowd: Object.assign({ preAllocatedVUs: number('VUS', 200), maxVUs: 2000 }, scenario) },
    thresholds: Object.assign(
      {
        checks: ['rate==1'],
        http_req_failed: ['rate==0'],
        http_req_duration: [`p(99)<${number('P99_MS', 1000)}`],
      },
      thresholds,
    ),
    summaryTrendStats: ['med', 'p(90)', 'p(99)', 'p(99.9)', 'max'],
    discardResponseBodies: false,
  }
}

function ask(method, path, body, tag) {
  return http.request(method, url + path, body === undefined ? null : JSON.stringify(body), {
    headers,
    tags: { name: tag },
    timeout: '60s',
  })
}

export function make(event) {
  event.id = `k6-${Date.now()}-${Math.floor(Math.random() * 1e9)}`
  const answer = ask('POST', '/v1/events', event, 'make')
  if (answer.status !== 201) throw new Error(`the event could not be made: ${answer.status} ${answer.body}`)
  return event.id
}

export function look(event) {
  return ask('GET', `/v1/events/${event}`, undefined, 'event').json()
}

// A hold, or undefined where it was refused with one of the codes that may be.
export function hold(event, user, units, codes) {
  const answer = ask('POST', `/v1/events/${event}/holds`, Object.assign({ user }, units), 'hold')
  if (answer.status === 201) {
    const got = answer.json()
    held.add(got.seats.length + got.pools.reduce((sum, pool) => sum + pool.quantity, 0))
    check(got, { 'the hold is the one asked for': (h) => h.user === user && h.event === event && h.state === 'held' })
    return got
  }
  refused.add(1)
  check(answer, { 'refused as it may be': (r) => codes.includes(r.json('code')) })
  return undefined
}

export function confirm(got) {
  const answer = ask('POST', `/v1/holds/${got.hold}/confirm`, { user: got.user }, 'confirm')
  if (check(answer, { 'paid, or too late': (r) => r.status === 200 || r.json('code') === 'expired' }) && answer.status === 200)
    sold.add(got.seats.length + got.pools.reduce((sum, pool) => sum + pool.quantity, 0))
}

export function release(got) {
  const answer = ask('DELETE', `/v1/holds/${got.hold}?user=${got.user}`, undefined, 'release')
  check(answer, { 'given back, or too late': (r) => r.status === 200 || r.json('code') === 'expired' })
}

export function join(event, user) {
  return ask('POST', `/v1/events/${event}/queue`, { user }, 'join').json()
}

export function place(token, wait_ms) {
  return ask('GET', `/v1/queue/${token}?wait_ms=${wait_ms}`, undefined, 'wait').json()
}

export function leave(token) {
  check(ask('DELETE', `/v1/queue/${token}`, undefined, 'leave'), { 'left': (r) => r.status === 200 })
}

// After all: the event's own counts must add up, and where seats are shown, the map must say the same.
export function audit(event) {
  const counts = look(event).counts
  check(counts, { 'capacity = free + held + sold': (c) => c.capacity === c.free + c.held + c.sold })
  return counts
}

export function seatsAudit(event) {
  const counts = audit(event)
  const rows = ask('GET', `/v1/events/${event}/seats?section=A`, undefined, 'seats').json().rows
  const letters = rows.map((row) => row.seats).join('')
  const count = (letter) => letters.split(letter).length - 1
  check(counts, { 'the map says what the counts say': (c) => count('F') === c.free && count('S') === c.sold && count('H') === c.held })
  return counts
}
