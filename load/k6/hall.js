// hall.js - seats: ROWS (20) of SEATS (50), RATE buyers a second, ramping up from a tenth (300) over SECONDS (5); the front rows
// are wanted most (row r with a weight of 1/r^ZIPF, 1); half of the holders pay.
import exec from 'k6/execution'
import { confirm, hold, make, number, options as optionsOf, seatsAudit } from './holdfast.js'

const rows = number('ROWS', 20)
const seats = number('SEATS', 50)
const rate = number('RATE', 300)
const seconds = number('SECONDS', 5)
const weights = Array.from({ length: rows }, (_, r) => (r + 1) ** -number('ZIPF', 1))
const whole = weights.reduce((sum, weight) => sum + weight, 0)

export const options = optionsOf(
  {
    executor: 'ramping-arrival-rate',
    startRate: Math.ceil(rate / 10),
    timeUnit: '1s',
    stages: [{ target: rate, duration: `${seconds}s` }],
  },
  { units_held: ['count>0', `count<=${rows * seats}`], units_sold: ['count>0'] },
)

export function setup() {
  return make({ sections: [{ name: 'A', rows, seats_per_row: seats }], hold_seconds: 600 })
}

function chooseRow() {
  let left = Math.random() * whole
  return Math.max(1, weights.findIndex((weight) => (left -= weight) < 0) + 1)
}

export default function (event) {
  const user = `u${exec.scenario.iterationInTest}`
  const party = 1 + Math.floor(Math.random() * 4)
  const codes = ['held', 'sold', 'heldout', 'soldout', 'noadjacent']
  const first = 1 + Math.floor(((Math.random() + Math.random()) / 2) * (seats - party))
  const row = chooseRow()
  const units =
    Math.random() < 0.3
      ? { best: { section: 'A', quantity: party } }
      : { seats: Array.from({ length: party }, (_, i) => `A/${row}/${first + i}`) }
  const got = hold(event, user, units, codes)
  if (got && Math.random() < 0.5) confirm(got)
}

export function teardown(event) {
  seatsAudit(event)
}
