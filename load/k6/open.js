// open.js - a waiting room: RATE people a second (100) for SECONDS (5), ACTIVE (20) may choose at once. They join, wait by long
// polls, choose the best seats, and pay (PAY, 0.8 of them) or give back and leave. Who waits longer than PATIENCE seconds (20)
// leaves.
import exec from 'k6/execution'
import { check, sleep } from 'k6'
import { confirm, hold, join, leave, make, number, options as optionsOf, place, release, seatsAudit } from './holdfast.js'

const pay = number('PAY', 0.8)
const patience = number('PATIENCE', 20)

export const options = optionsOf(
  {
    executor: 'constant-arrival-rate',
    rate: number('RATE', 100),
    timeUnit: '1s',
    duration: `${number('SECONDS', 5)}s`,
    gracefulStop: `${patience + 10}s`,
  },
  {
    'http_req_duration': [], // long polls are long
    'http_req_duration{name:join}': [`p(99)<${number('P99_MS', 1000)}`],
    'http_req_duration{name:hold}': [`p(99)<${number('P99_MS', 1000)}`],
    units_sold: ['count>0', 'count<=400'],
  },
)

export function setup() {
  return make({
    sections: [{ name: 'A', rows: 20, seats_per_row: 20 }],
    hold_seconds: 30,
    queue: { active_max: number('ACTIVE', 20), active_seconds: 60, grace_seconds: 60 },
  })
}

export default function (event) {
  const user = `u${exec.scenario.iterationInTest}`
  let mine = join(event, user)
  const token = mine.token
  let position = mine.position
  const end = Date.now() + patience * 1000
  while (mine.state === 'waiting' && mine.chance !== 'none' && Date.now() < end) {
    mine = place(token, 1000)
    if (mine.state === 'waiting') {
      check(mine, { 'positions never rise': (m) => m.position <= position })
      position = mine.position
    }
  }
  if (mine.state !== 'active') {
    leave(token)
    return
  }
  sleep(Math.random() * 0.1)
  const quantity = 1 + Math.floor(Math.random() * 2)
  const got = hold(event, user, { best: { section: 'A', quantity } }, ['heldout', 'soldout', 'noadjacent'])
  if (got && Math.random() < pay) {
    confirm(got)
    check(place(token, 0), { 'who has paid has left the room': (m) => m.state === 'done' })
    return
  }
  if (got) release(got)
  leave(token)
}

export function teardown(event) {
  seatsAudit(event)
}
