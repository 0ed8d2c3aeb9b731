import { expect, test } from 'vitest'
import { UserError } from '../../src/fault.ts'
import { parseCluster, planImport } from '../../src/node/cluster.ts'

// The shape of the file that SystemImager ships.
const file = `<?xml version='1.0' standalone='yes'?>
<!-- cluster topology -->
<xml>
  <master>imageserver</master>
  <name>all</name>
  <override>all</override>
  <override>base</override>
  <group>
    <name>compute</name>
    <image>img</image>
    <override>compute</override>
    <override>ntp dns
      compute</override>
    <node>n001-n003</node>
    <node>
      n010 n011
    </node>
    <ip-range>10.0.0.50 - 10.0.0.60</ip-range>
  </group>
  <group>
    <name>login</name>
    <priority>10</priority>
    <image>img-login</image>
    <node>n003</node>
  </group>
  <group>
    <name>gpu</name>
    <priority>10</priority>
    <image>img-gpu</image>
    <image>ignored</image>
    <dynamic_node>n003,n002</dynamic_node>
  </group>
  <group><name>rack1</name><priority>1</priority><node>n001</node></group>
</xml>`

test('groups: the lowest number first, equal ones by name, without a number last', () => {
  const { groups, left } = parseCluster(file, 'f')
  expect(groups.map(({ name, priority, image, nodes }) => [name, priority, image, nodes.join()])).toEqual([
    ['rack1', 1, undefined, 'n001'],
    ['gpu', 10, 'img-gpu', 'n003,n002'],
    ['login', 10, 'img-login', 'n003'],
    ['compute', undefined, 'img', 'n001,n002,n003,n010,n011'],
  ])
  expect(left).toEqual(['override base of all nodes: its files belong into overrides/all here'])
  expect(groups[3]!.overrides).toEqual(['compute', 'ntp', 'dns'])
})

test('the import: images of groups, nodes with their groups, the choice shown where groups disagree', () => {
  const known = [
    { name: 'n001', ip: '10.0.0.1', groups: 'all', osimage: '' },
    { name: 'n099', ip: '10.0.0.55', groups: 'all,compute', osimage: 'own' },
    { name: 'n100', ip: '', groups: '', osimage: '' },
  ]
  const { definitions, choices, newImages, keepOwn } = planImport(parseCluster(file, 'f'), known, ['img'])
  expect(newImages).toEqual(['img-gpu', 'img-login'])
  expect(keepOwn).toEqual(['n099'])
  const said = definitions.map(({ type, name, attrs }) => `${type} ${name} ${new URLSearchParams(attrs)}`)
  expect(said.map((text) => decodeURIComponent(text))).toEqual([
    'osimage img-gpu ',
    'osimage img-login ',
    'node n001 groups=all,rack1,compute',
    'node n003 groups=gpu,login,compute',
    'node n002 groups=gpu,compute',
    'node n010 groups=compute',
    'node n011 groups=compute',
    'node n099 groups=all,compute',
    'group rack1 priority=1',
    'group gpu priority=10&osimage=img-gpu',
    'group login priority=10&osimage=img-login',
    'group compute osimage=img&overrides=compute,ntp,dns',
  ])
  expect(choices.find(({ node }) => node === 'n003')).toEqual({
    node: 'n003',
    image: 'img-gpu',
    of: 'gpu',
    others: ['login says img-login', 'compute says img'],
  })
  expect(choices.find(({ node }) => node === 'n001')).toMatchObject({
    image: 'img',
    of: 'compute',
    others: [],
  })
})

test('everything that is wrong is named with its line', () => {
  const bad = `<xml>
<group><name>a b</name></group>
<group><name>g</name>
  <priority>-1</priority>
  <node>n[3-1]</node>
  <node>n1.example.org</node>
  <image>../img</image>
  <ip-range>10.0.0.9-10.0.0.1</ip-range>
  <override>../x</override>
  <colour/>
</group>
<group><name>g</name></group>
<nodes/>
</xml>`
  let caught: UserError | undefined
  try {
    parseCluster(bad, 'f')
  } catch (error) {
    caught = error as UserError
  }
  expect(caught).toBeInstanceOf(UserError)
  expect(caught!.faults.map(({ object, error }) => `${object} ${error}`)).toEqual([
    'f:2 not a group name',
    'f:2 a group without a name',
    'f:4 not a priority',
    'f:5 noderange: the range runs backwards',
    'f:6 not a node name',
    'f:7 not an osimage name',
    'f:8 not a range of addresses',
    'f:9 not the name of an override',
    'f:10 no such element',
    'f:12 the group is there twice',
    'f:13 no such element',
  ])
})
