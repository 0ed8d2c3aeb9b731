// Where a boot begins: tables of what a machine asks, one after the other.
import { expect, test } from 'vitest'
import { type BootState, placeStep, type StepBody, type Turn } from '../../src/boot/record.ts'

const dhcp = (client: 'firmware' | 'ipxe' | 'os', type: 'discover' | 'request' = 'discover') =>
  ({ kind: 'dhcp', client, type, server: '10.0.0.1', port: 67, request: '', answer: 'offer' }) as StepBody
const file: StepBody = {
  kind: 'file',
  id: 1,
  by: 'tftp',
  name: 'x',
  peer: '10.0.0.11' as never,
  sent: { what: 'nothing' },
}
const end: StepBody = { kind: 'end', id: 1, bytes: 5 }

// Seconds after the first step, what is asked, and the number of the boot that it belongs to (0: none).
const boots: Record<string, [number, StepBody, number][]> = {
  'PXE, GRUB, ramdisk': [
    [0, dhcp('firmware'), 1],
    [4, dhcp('firmware'), 1],
    [12, dhcp('firmware', 'request'), 1],
    [13, file, 1],
    [40, dhcp('os'), 1],
    [41, dhcp('os', 'request'), 1],
  ],
  'a reset after the loader was asked for': [
    [0, dhcp('firmware'), 1],
    [1, file, 1],
    [3, dhcp('firmware'), 2],
    [4, end, 2],
  ],
  'firmware that gets no answer, then comes back much later': [
    [0, dhcp('firmware'), 1],
    [32, dhcp('firmware'), 1],
    [300, dhcp('firmware'), 2],
  ],
  'iPXE loaded by the firmware': [
    [0, dhcp('firmware'), 1],
    [1, file, 1],
    [2, dhcp('ipxe'), 1],
    [3, dhcp('ipxe', 'request'), 1],
    [4, file, 1],
    [30, dhcp('os'), 1],
  ],
  'iPXE in the card, twice': [
    [0, dhcp('ipxe'), 1],
    [2, dhcp('ipxe'), 1],
    [4, file, 1],
    [6, dhcp('ipxe'), 2],
  ],
  'a system that renews for days': [
    [0, dhcp('os', 'request'), 0],
    [10, dhcp('firmware'), 1],
    [20, dhcp('os'), 1],
    [21_600, dhcp('os', 'request'), 0],
    [43_200, dhcp('os'), 0],
  ],
  'a name asked for by who got its address elsewhere': [
    [0, file, 1],
    [60, file, 1],
    [7200, file, 2],
  ],
  'an end of nothing': [[0, end, 0]],
}
for (const [name, rows] of Object.entries(boots))
  test(name, () => {
    let boot: BootState | undefined
    let number = 0
    const got = rows.map(([seconds, body]) => {
      const place = placeStep(boot, { time: 1e12 + seconds * 1000, ...body } as Turn)
      if (place) boot = place.boot
      if (place?.begins) number++
      return place ? number : 0
    })
    expect(got).toEqual(rows.map(([, , expected]) => expected))
  })
