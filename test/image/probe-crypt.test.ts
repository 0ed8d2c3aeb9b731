// LUKS: LVM on LUKS 2 on md, LUKS 1, swap with a key of each boot.
import { expect, test } from 'vitest'
import { probeOf, shown, textOf } from './probes.ts'

const { layout, refusals } = probeOf('luks')

test('what holds what', () => {
  expect(shown(layout)).toEqual({
    '/dev/vda1': 'ext4 /boot',
    '/dev/vda2': '/dev/md127 0',
    '/dev/vdb2': '/dev/md127 1',
    '/dev/md127': 'luks2 as /dev/mapper/crypt-root',
    '/dev/mapper/crypt-root': 'pv of system',
    '/dev/mapper/system-root': 'ext4 /',
    '/dev/vdc1': 'luks1 as /dev/mapper/crypt_data',
    '/dev/mapper/crypt_data': 'ext4 /data',
    '/dev/vdc2': 'plain as /dev/mapper/cryptswap',
    '/dev/mapper/cryptswap': 'swap',
  })
  expect(refusals).toEqual([])
})

test('with what a new header is made of, and nothing that opens the old one', () => {
  expect(layout.arrays![0]!.crypt).toMatchObject({
    ...{ format: 'luks2', label: 'encrypted', uuid: expect.stringMatching(/^[0-9a-f-]{36}$/) },
    settings: { cipher: 'aes-xts-plain64', PBKDF: 'pbkdf2', keysize: '512 bits', 'sector size': '512' },
  })
  const answer = textOf('luks')
  const said = Object.values<string>(JSON.parse(answer).said).map((text) =>
    Buffer.from(text, 'base64').toString(),
  )
  expect(said.join('\n')).not.toMatch(/salt|digest|Iterations/i)
  expect(layout.crypttab).toContain('cryptswap /dev/vdc2 /dev/urandom swap')
})
