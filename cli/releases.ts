export async function runReleases(): Promise<number> {
  return 3;
}
