// storm.js - everybody the same seat: RATE buyers a second (500) for SECONDS (5); exactly one gets it.
import exec from 'k6/execution'
import { check } from 'k6'
import { hold, make, number, options as optionsOf, seatsAudit } from './holdfast.js'

export const options = optionsOf(
  { executor: 'constant-arrival-rate', rate: number('RATE', 500), timeUnit: '1s', duration: `${number('SECONDS', 5)}s` },
  { units_held: ['count==1'] },
)

export function setup() {
  return make({ sections: [{ name: 'A', rows: 2, seats_per_row: 10 }], hold_seconds: 600 })
}

export default function (event) {
  hold(event, `u${exec.scenario.iterationInTest}`, { seats: ['A/1/5'] }, ['held'])
}

export function teardown(event) {
  check(seatsAudit(event), { 'one seat is held': (c) => c.held === 1 })
}
