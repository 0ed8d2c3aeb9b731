// Nodes as the boot process knows them, for the tests of this folder and of test/http.
import type { Digest, Ipv4, Mac, NodeName } from '../../src/address.ts'
import type { BootNode, ServerAddress } from '../../src/boot/plan.ts'
import type { DeploymentState } from '../../src/deploy/deployment.ts'

export const server: ServerAddress = { address: '10.77.0.1' as Ipv4, httpPort: 80, imagePort: 8081 }
export const digest = (digit: string) => `sha256:${digit.repeat(64)}` as Digest

export const node = (more: Partial<BootNode> = {}): BootNode => ({
  name: 'n1' as NodeName,
  mac: ['52:54:00:77:00:11' as Mac],
  kernelArgs: ['console=tty0', 'console=ttyS0,115200'],
  ...more,
})

export const deployment = (state: DeploymentState): NonNullable<BootNode['deployment']> => ({
  id: '0123456789abcdef',
  state,
  image: 'img:3',
  token: 'ab'.repeat(32),
  kernel: { digest: digest('1'), bytes: 8_200_000 },
  initrds: [
    { digest: digest('2'), bytes: 5_000_000 },
    { digest: digest('3'), bytes: 15_400_000 },
  ],
})
