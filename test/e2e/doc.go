// Package e2e proves the main job from end to end: the product as it ships,
// against the simulated cloud, on real bytes.
//
// It has tests only. They take the cloud's word for nothing: sums are
// computed from the datastores' own files, and what a restore must bring
// back was deleted and scrubbed before.
package e2e
