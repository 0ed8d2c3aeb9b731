/** GPT partition types by what a partition is for: GUIDs, upper case (UEFI specification, and its users). */
export const gptTypes = {
  biosBoot: '21686148-6449-6E6F-744E-656564454649',
  efi: 'C12A7328-F81F-11D2-BA4B-00A0C93EC93B',
  linux: '0FC63DAF-8483-4772-8E79-3D69D8477DE4',
  swap: '0657FD6D-A4AB-43C4-84E5-0933C84B4F4F',
  lvm: 'E6D6D379-F507-44C2-A23C-238F2A3DF928',
  raid: 'A19D880F-05FC-4D3B-A006-743F0F84911E',
  prep: '9E1A2D38-C612-4316-AA26-8B49521E5A8B',
  msftdata: 'EBD0A0A2-B9E5-4433-87C0-68B6B72699C7',
} as const

/** A GPT has that many entries unless it says more or fewer; each takes so many bytes. */
export const gptEntries = { usual: 128, bytes: 128 } as const

/** What one copy of a GPT takes at an end of the disk: its header and its entries. */
export const gptCopySectors = (length: number, sectorBytes: number): number =>
  1 + Math.ceil((length * gptEntries.bytes) / sectorBytes)
