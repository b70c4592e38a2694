import { createRivetKit } from "@rivetkit/react";

export const { useActor } = createRivetKit({
  endpoint: `${location.origin}/api/rivet`,
  devtools: false,
});

// A colour for each name, always the same.
export function colourOf(name) {
  let sum = 7;
  for (const letter of name) sum = (sum * 137 + letter.codePointAt(0) * 29) % 360;
  return `hsl(${sum} 55% 48%)`;
}
