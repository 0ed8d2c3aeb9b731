import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseSubnet } from '../src/address.ts'
import { parseConfig, placeOfNetworks } from '../src/config.ts'
import { renderFault, UserError } from '../src/fault.ts'

const faultsOf = (text: string) => {
  try {
    parseConfig(text, 'c.yaml')
    return []
  } catch (error) {
    if (!(error instanceof UserError)) throw error
    expect(error.message).toBe(error.faults.map(renderFault).join('\n'))
    return error.faults.map(renderFault)
  }
}
/** A good file whose network has these lines more or instead. */
const withNetwork = (lines: Record<string, string>) => {
  const network = { interface: 'eth1', subnet: '10.0.0.0/24', address: '10.0.0.1', ...lines }
  const [first, ...rest] = Object.entries(network).map(([key, value]) => `${key}: ${value}`)
  return ['networks:', `  - ${first}`, ...rest.map((line) => `    ${line}`)].join('\n')
}

test('the least file: everything but the network has a default', () => {
  expect(parseConfig(withNetwork({}), 'c.yaml')).toEqual({
    stateDir: '/var/lib/sysclone',
    networks: [{ interface: 'eth1', subnet: { base: 0x0a000000, prefix: 24 }, address: '10.0.0.1' }],
    http: { port: 80, imagePort: 8081, workers: 2, imageUrls: [] },
    tftp: { port: 69, workers: 1 },
    api: { socket: '/run/sysclone/api.sock' },
    loaders: {},
    ssh: {},
  })
})

test('the fullest file', () => {
  const result = parseConfig(
    `# a comment
stateDir: /srv/sysclone
networks:
  - { interface: eth1, subnet: 10.0.0.0/24, address: 10.0.0.1, mode: dhcp, pool: 10.0.0.100-10.0.0.199,
      gateway: 10.0.0.254, dns: [10.0.0.1, 10.0.0.2], domain: cluster.example, ntp: [10.0.0.1] }
http: { port: 8080, imagePort: 8082, workers: 1, imageUrls: [http://10.0.0.1, 'http://10.0.0.9:8090/x/'] }
tftp: { port: 6969, workers: 2 }
api: { socket: /tmp/a.sock }
ssh: { identity: /root/.ssh/id_ed25519 }
`,
    'c.yaml',
  )
  expect(result).toMatchObject({
    stateDir: '/srv/sysclone',
    networks: [
      {
        pool: { from: '10.0.0.100', to: '10.0.0.199' },
        gateway: '10.0.0.254',
        dns: ['10.0.0.1', '10.0.0.2'],
        domain: 'cluster.example',
        ntp: ['10.0.0.1'],
      },
    ],
    http: {
      port: 8080,
      imagePort: 8082,
      workers: 1,
      imageUrls: [
        { address: '10.0.0.1', port: 80, path: '' },
        { address: '10.0.0.9', port: 8090, path: '/x' },
      ],
    },
    tftp: { port: 6969, workers: 2 },
    ssh: { identity: '/root/.ssh/id_ed25519' },
  })
  expect(result.networks[0]).not.toHaveProperty('mode')
})

// The network starts in line 2; its lines are interface, subnet, address, then the one under test.
const oneFault: [what: string, lines: Record<string, string>, fault: string][] = [
  [
    'pool outside',
    { pool: '10.0.1.5-10.0.1.9' },
    'c.yaml:5: networks[0].pool: not inside 10.0.0.0/24 (10.0.1.5-10.0.1.9; allowed: 10.0.0.1-10.0.0.254)',
  ],
  [
    'pool with us in it',
    { pool: '10.0.0.1-10.0.0.9' },
    'c.yaml:5: networks[0].pool: our own address 10.0.0.1 is in it (10.0.0.1-10.0.0.9)',
  ],
  [
    'pool backwards',
    { pool: '10.0.0.9-10.0.0.5' },
    'c.yaml:5: networks[0].pool: not a range of addresses (10.0.0.9-10.0.0.5; allowed: FIRST-LAST, the first not after the last)',
  ],
  [
    'octal address',
    { address: '010.0.0.1' },
    'c.yaml:4: networks[0].address: not an IPv4 address (010.0.0.1; allowed: four numbers 0-255 without leading zeros, as 10.0.0.1)',
  ],
  [
    'octal dns',
    { dns: '[8.8.8.8, 08.8.8.8]' },
    'c.yaml:5: networks[0].dns[1]: not an IPv4 address (08.8.8.8; allowed: four numbers 0-255 without leading zeros, as 10.0.0.1)',
  ],
  [
    'our address outside',
    { address: '10.0.1.1' },
    'c.yaml:4: networks[0].address: not inside 10.0.0.0/24 (10.0.1.1; allowed: 10.0.0.1-10.0.0.254)',
  ],
  [
    'our address is the broadcast',
    { address: '10.0.0.255' },
    'c.yaml:4: networks[0].address: not inside 10.0.0.0/24 (10.0.0.255; allowed: 10.0.0.1-10.0.0.254)',
  ],
  [
    'gateway outside',
    { gateway: '192.168.0.1' },
    'c.yaml:5: networks[0].gateway: not inside 10.0.0.0/24 (192.168.0.1; allowed: 10.0.0.1-10.0.0.254)',
  ],
  [
    'host bits',
    { subnet: '10.0.0.7/24' },
    'c.yaml:3: networks[0].subnet: not a subnet (10.0.0.7/24; allowed: 10.0.0.0/24)',
  ],
  [
    'unknown key',
    { pol: '10.0.0.5-10.0.0.9' },
    'c.yaml:5: networks[0].pol: no such key (10.0.0.5-10.0.0.9; allowed: interface subnet address mode discovery pool gateway dns domain ntp relays)',
  ],
  [
    'a mode that there is not',
    { mode: 'relay' },
    'c.yaml:5: networks[0].mode: not allowed (relay; allowed: dhcp | proxy)',
  ],
  [
    'a pool beside another DHCP server',
    { mode: 'proxy', pool: '10.0.0.5-10.0.0.9' },
    'c.yaml:6: networks[0].pool: not with mode: proxy, where the other DHCP server gives the addresses (10.0.0.5-10.0.0.9)',
  ],
  [
    'addresses that EDK2 takes for none',
    { subnet: '0.7.0.0/16', address: '0.7.0.1' },
    'c.yaml:3: networks[0].subnet: no addresses for machines (0.7.0.0/16; allowed: not in 0.0.0.0/8, 127.0.0.0/8 or 224.0.0.0/3)',
  ],
  [
    'a number',
    { domain: '7' },
    'c.yaml:5: networks[0].domain: not allowed (7; allowed: a domain name, as cluster.example)',
  ],
]
for (const [what, lines, fault] of oneFault)
  test(`network: ${what}`, () => expect(faultsOf(withNetwork(lines))).toEqual([fault]))

const discovery = { discovery: 'hold' }
test('discovery needs a pool, or a proxy beside the server that has one', () => {
  expect(faultsOf(withNetwork(discovery))).toEqual([
    expect.stringMatching(/networks\[0\]\.discovery: not without a pool \(hold; allowed: pool: FIRST-LAST\)/),
  ])
  expect(faultsOf(withNetwork({ ...discovery, pool: '10.0.0.100-10.0.0.109' }))).toEqual([])
  expect(faultsOf(withNetwork({ ...discovery, mode: 'proxy' }))).toEqual([])
})

const whole: [what: string, text: string, faults: RegExp[]][] = [
  ['nothing', '', [/^c.yaml:1: networks: needed \(absent; allowed: at least one network/]],
  ['a list', '- a', [/^c.yaml:1: file: not allowed/]],
  ['no networks', 'networks: []', [/^c.yaml:1: networks: not allowed \(\[\]; allowed: at least one network/]],
  ['a key that was cut', `${withNetwork({})}\nhttp: { port`, [/^c.yaml:5: not YAML/]],
  [
    'said twice',
    `${withNetwork({})}\nstateDir: /a\nstateDir: /b`,
    [/^c.yaml:6: not YAML \(Map keys must be unique/],
  ],
  [
    'a port',
    `${withNetwork({})}\ntftp:\n  port: 70000`,
    [/^c.yaml:6: tftp.port: not allowed \(70000; allowed: a port, 1 to 65535\)/],
  ],
  [
    'one port for two',
    `${withNetwork({})}\nhttp: { imagePort: 80 }`,
    [/^c.yaml:5: http.imagePort: the same as http.port/],
  ],
  [
    'a base URL with a name',
    `${withNetwork({})}\nhttp:\n  imageUrls: [http://10.0.0.1, http://mirror/]`,
    [
      /^c.yaml:6: http.imageUrls\[1\]: not a base URL of images \(http:\/\/mirror\/; allowed: http:\/\/ADDRESS/,
    ],
  ],
  [
    'a relative path',
    `stateDir: var\n${withNetwork({})}`,
    [/^c.yaml:1: stateDir: not allowed \(var; allowed: an absolute path\)/],
  ],
  [
    'a path too long for a socket',
    `api: { socket: /${'x'.repeat(107)} }\n${withNetwork({})}`,
    [/^c.yaml:1: api.socket:.*107 bytes/],
  ],
  [
    'a map that is none',
    `${withNetwork({})}\nhttp: 80`,
    [/^c.yaml:5: http: not allowed \(80; allowed: port imagePort workers imageUrls\)/],
  ],
  [
    'a name of JavaScript’s own',
    `${withNetwork({})}\nconstructor: 1`,
    [/^c.yaml:5: constructor: no such key/],
  ],
  [
    'an unknown top key',
    `${withNetwork({})}\nlisten: 1`,
    [/^c.yaml:5: listen: no such key \(1; allowed: stateDir networks http tftp api loaders registry ssh\)/],
  ],
  [
    'an anchor that grows',
    `a: &a [x,x]\nb: &b [${'*a,'.repeat(9)}*a]\nc: [${'*b,'.repeat(9)}*b]`,
    [/not YAML/],
  ],
]
for (const [what, text, faults] of whole)
  test(`file: ${what}`, () => {
    const found = faultsOf(text)
    expect(found).toHaveLength(faults.length)
    for (const [index, fault] of faults.entries()) expect(found[index]).toMatch(fault)
  })

test('all faults are told at once, each with its line', () => {
  const text = `stateDir: 7
networks:
  - interface: eth1
    subnet: 10.0.0.0/16
    address: 10.0.0.1
  - interface: eth1
    subnet: 10.0.3.0/24
    address: 10.0.03.1
    typo: 1
  - address: 10.9.0.1
`
  const keys = faultsOf(text).map((fault) => fault.replace(/ \(.*/, ''))
  expect(keys).toEqual([
    'c.yaml:1: stateDir: not allowed',
    'c.yaml:6: networks[1].interface: used by another network',
    'c.yaml:7: networks[1].subnet: overlaps 10.0.0.0/16',
    'c.yaml:8: networks[1].address: not an IPv4 address',
    'c.yaml:9: networks[1].typo: no such key',
    'c.yaml:10: networks[2].subnet: needed',
  ])
})

test('a relayed subnet has no interface, and its address is one of another subnet', () => {
  const relayed = (address: string) => `networks:
  - { interface: eth1, subnet: 10.0.0.0/24, address: 10.0.0.1 }
  - { subnet: 10.5.0.0/24, address: ${address}, gateway: 10.5.0.254, relays: [192.168.7.1] }
`
  expect(parseConfig(relayed('10.0.0.1'), 'c.yaml').networks[1]).toEqual({
    subnet: parseSubnet('10.5.0.0/24'),
    address: '10.0.0.1',
    gateway: '10.5.0.254',
    relays: ['192.168.7.1'],
  })
  expect(faultsOf(relayed('10.5.0.1'))).toEqual([
    'c.yaml:3: networks[1].interface: needed (absent; allowed: an interface, as eth1; only a subnet behind relays has none)',
  ])
})

test('mode: proxy is kept', () => {
  expect(parseConfig(withNetwork({ mode: 'proxy' }), 'c.yaml').networks[0]?.mode).toBe('proxy')
})

test('a hundred faults are a hundred lines', () => {
  const text = `networks:\n${Array.from({ length: 50 }, () => '  - { interface: 7, subnet: x, address: 10.0.0.1 }\n').join('')}`
  expect(faultsOf(text)).toHaveLength(100)
})

test('law: any text gives a configuration or faults that name a line, nothing else', () => {
  const words = [
    'networks',
    'subnet',
    'address',
    '10.0.0.0/24',
    '10.0.0.1',
    ':',
    '-',
    '\n',
    ' ',
    '{',
    '[',
    '*a',
    '&a',
  ]
  const soup = fc.array(fc.constantFrom(...words), { maxLength: 40 }).map((list) => list.join(''))
  fc.assert(
    fc.property(fc.oneof(fc.string(), soup), (text) => {
      for (const fault of faultsOf(text)) expect(fault).toMatch(/^c\.yaml:\d+: /)
    }),
    { numRuns: 500 },
  )
})

test('law: any value in any place is allowed or named', () => {
  const keys = fc.constantFrom('interface', 'subnet', 'address', 'pool', 'dns', 'x')
  const network = fc.dictionary(keys, fc.jsonValue())
  const file = fc.record({ networks: fc.oneof(fc.array(network), fc.jsonValue()), http: fc.jsonValue() })
  fc.assert(fc.property(file, (value) => void faultsOf(JSON.stringify(value))))
})

test('the place of the networks is known: they are changed there', () => {
  expect(
    placeOfNetworks('# a cluster\nhttp: { port: 80 }\nnetworks:\n  - subnet: 10.0.0.0/24\n', '/etc/c.yaml'),
  ).toBe('/etc/c.yaml:3')
})
