/** The part of the UCUM library that is used here; it ships no types of its own. */
declare module "@lhncbc/ucum-lhc" {
  interface Validation {
    readonly status: "valid" | "invalid" | "error";
    readonly ucumCode: string | null;
    readonly suggestions?: readonly { readonly units: readonly (readonly string[])[] }[];
  }
  export interface UcumLibrary {
    readonly UcumLhcUtils: { getInstance(): { validateUnitString(unit: string, suggest: boolean): Validation } };
  }
  const ucum: UcumLibrary;
  export default ucum;
}
