// The lab's private network: a namespace with one bridge. Nothing in it reaches the host's own network.
import { readdirSync } from 'node:fs'
import { must, run } from './command.ts'

export type LabNetwork = {
  namespace: string
  /** A command as it must be started to run inside. */
  inside: (argv: string[]) => string[]
  /** Makes a tap on a bridge, the lab's own unless another is named, and gives the tap's name. */
  addTap: (onto?: string) => Promise<string>
  /** Makes another bridge, with this address of ours on it if any. */
  addBridge: (name: string, address?: string) => Promise<void>
  /** Another host: a namespace of its own, `plug` puts a card of it with that address on a bridge of ours. */
  addHost: (name: string) => Promise<LabHost>
  /** How many bytes the machine behind a tap has been sent. */
  sentTo: (tap: string) => Promise<number>
  close: () => Promise<void>
}

export type LabHost = {
  inside: LabNetwork['inside']
  plug: (card: string, onto: string, address: string) => Promise<void>
}

export const serverAddress = '10.77.0.1'
export const subnet = '10.77.0.0/24'
export const bridge = 'br0'
const prefix = 'sysclone-lab-'

/** A namespace named after this process, so that two labs at once never meet. */
export async function startNetwork(): Promise<LabNetwork> {
  await sweep()
  const namespace = `${prefix}${process.pid}`
  const ip = (...words: string[]) => must(['ip', '-n', namespace, ...words])
  const hosts: string[] = []
  let [taps, bridges, plugs] = [0, 0, 0]
  await must(['ip', 'netns', 'add', namespace])
  try {
    await ip('link', 'set', 'lo', 'up')
    await addBridge(bridge, `${serverAddress}/24`)
  } catch (error) {
    await run(['ip', 'netns', 'del', namespace])
    throw error
  }
  async function addBridge(name: string, address?: string) {
    // A bridge takes the lowest address of its ports as its own unless it has one: ARP caches would go stale.
    const mac = `52:54:00:77:ff:0${bridges++}`
    const settings = ['stp_state', '0', 'forward_delay', '0']
    await ip('link', 'add', name, 'address', mac, 'type', 'bridge', ...settings)
    if (address) await ip('addr', 'add', address, 'dev', name)
    await ip('link', 'set', name, 'up')
  }
  async function addTap(onto = bridge) {
    const name = `tap${taps++}`
    await ip('tuntap', 'add', 'dev', name, 'mode', 'tap')
    await ip('link', 'set', name, 'master', onto, 'up')
    return name
  }
  async function addHost(name: string): Promise<LabHost> {
    const own = `${namespace}-${name}`
    hosts.push(own)
    await must(['ip', 'netns', 'add', own])
    await must(['ip', '-n', own, 'link', 'set', 'lo', 'up'])
    async function plug(card: string, onto: string, address: string) {
      const end = `plug${plugs++}`
      await ip('link', 'add', end, 'type', 'veth', 'peer', 'name', card, 'netns', own)
      await ip('link', 'set', end, 'master', onto, 'up')
      await must(['ip', '-n', own, 'addr', 'add', address, 'dev', card])
      await must(['ip', '-n', own, 'link', 'set', card, 'up'])
    }
    return { inside: insideOf(own), plug }
  }
  async function sentTo(tap: string) {
    const [link] = JSON.parse(await ip('-json', '-statistics', 'link', 'show', 'dev', tap))
    return Number(link.stats64.tx.bytes)
  }
  return {
    namespace,
    inside: insideOf(namespace),
    ...{ addTap, addBridge, addHost, sentTo },
    close: async () => {
      for (const each of [...hosts, namespace]) await run(['ip', 'netns', 'del', each])
    },
  }
}

const insideOf = (namespace: string) => (argv: string[]) => ['ip', 'netns', 'exec', namespace, ...argv]

/** Namespaces of labs that were killed before they could clean up. */
async function sweep() {
  const { stdout } = await run(['ip', 'netns', 'list'])
  const alive = new Set(readdirSync('/proc'))
  for (const name of stdout.split('\n').map((line) => line.split(' ')[0]!))
    if (name.startsWith(prefix) && !alive.has(name.slice(prefix.length).split('-')[0]!))
      await run(['ip', 'netns', 'del', name])
}
