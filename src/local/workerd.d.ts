/** The npm package `workerd` has no types of its own; as CommonJS its exports are the properties of one object. */
declare module "workerd" {
  const workerd: {
    /** The path of the binary for this machine. */
    readonly default: string;
    readonly version: string;
  };
  export default workerd;
}
