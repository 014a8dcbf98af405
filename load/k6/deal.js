// deal.js - counted stock: STOCK units (500), RATE buyers a second (500) for SECONDS (5), each wants one.
//
// More come than there are units, so exactly STOCK are held, by the buyers' own count.
import exec from 'k6/execution'
import { check } from 'k6'
import { audit, hold, make, number, options as optionsOf } from './holdfast.js'

const stock = number('STOCK', 500)
const rate = number('RATE', 500)
const seconds = number('SECONDS', 5)
if (rate * seconds < stock * 1.1) throw new Error('expected more buyers than units: RATE * SECONDS above STOCK')

export const options = optionsOf(
  { executor: 'constant-arrival-rate', rate, timeUnit: '1s', duration: `${seconds}s` },
  { units_held: [`count==${stock}`] },
)

export function setup() {
  return make({ pools: [{ name: 'deal', capacity: stock }], hold_seconds: 600 })
}

export default function (event) {
  const user = `u${exec.scenario.iterationInTest}`
  hold(event, user, { pools: [{ name: 'deal', quantity: 1 }] }, ['heldout', 'soldout'])
}

export function teardown(event) {
  check(audit(event), { 'all units are held': (c) => c.held === stock && c.free === 0 })
}
