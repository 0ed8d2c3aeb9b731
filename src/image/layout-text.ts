// A layout file in either form: our own YAML, or SystemImager's XML.
import { parseAutoinstallConf } from './autoinstall-conf.ts'
import { type LayoutFile, parseLayoutFile } from './layout-file.ts'

type Needs = Parameters<typeof parseAutoinstallConf>[1]

/** Throws UserError with what is wrong and its line. */
export const parseLayoutText = (text: string, needs: Needs): LayoutFile =>
  text.trimStart().startsWith('<')
    ? parseAutoinstallConf(text, needs)
    : parseLayoutFile(text, needs.name, needs.makeUuid)
