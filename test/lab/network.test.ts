import { expect, test } from 'vitest'
import { must, run } from '../../services/lab/command.ts'
import { startNetwork } from '../../services/lab/network.ts'

test('a private namespace: the bridge with our address, taps on it, no way out, all gone at the end', async () => {
  const network = await startNetwork()
  try {
    const tap = await network.addTap()
    const addresses = await must(network.inside(['ip', '-br', '-4', 'addr', 'show', 'dev', 'br0']))
    expect(addresses).toContain('10.77.0.1/24')
    expect(await must(network.inside(['ip', '-o', 'link', 'show', 'master', 'br0']))).toContain(tap)
    expect(await must(network.inside(['ip', 'route']))).toBe(
      '10.77.0.0/24 dev br0 proto kernel scope link src 10.77.0.1 linkdown \n',
    )
  } finally {
    await network.close()
  }
  expect((await run(['ip', 'netns', 'list'])).stdout).not.toContain(network.namespace)
})

test('namespaces of labs that were killed are removed by the next one', async () => {
  const dead = 'sysclone-lab-4194305' // above the largest process id of Linux
  await must(['ip', 'netns', 'add', dead])
  const network = await startNetwork()
  await network.close()
  expect((await run(['ip', 'netns', 'list'])).stdout).not.toContain(dead)
})
