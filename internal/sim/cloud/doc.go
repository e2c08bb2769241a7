// Package cloud assembles a simulated VMware Cloud Director from an
// inventory: the director in front, the vCenters behind it, and disks with
// bytes in them.
//
// An Inventory is a YAML file that says which orgs, VDCs, networks, vApps and
// VMs there are. Start turns it into servers that answer on real ports, with
// certificates of an authority of their own, and keeps every byte of every
// disk below one directory, where a test can look at it behind the servers'
// backs. The same inventory gives the same addresses, MACs and disk contents
// every time.
//
// It refuses an inventory with unknown keys, or one whose names do not lead
// anywhere, and names the line or the thing. It shares no code with what
// vappvault ships. Nothing in it survives Close but the files.
package cloud
