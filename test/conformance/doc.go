// Package conformance drives the simulated vCD with go-vcloud-director, the
// client library behind VMware's Terraform provider, which knows nothing of
// this project. What it can log in to, find, change and delete here, it can
// on a real vCD too.
//
// It is a module of its own, so that the library stays out of the product's.
// VCDSIM_BIN names a vcdsim to use; without it one is built.
package conformance
