// Package vcd talks to the API of VMware Cloud Director: sessions, inventory,
// documents, tasks, maintenance mode, metadata and the import of virtual
// machines.
//
// It promises that every document reaches the caller byte for byte as the
// server sent it, beside the few fields that are parsed from it; that a
// request which may already have been carried out is never repeated blindly;
// and that passwords and tokens stay out of errors and logs. Only the path
// and query of an href are used: whatever host a document names, the session
// is shown to the configured site alone.
//
// It refuses documents with a DTD, nested deeper than 200 elements or larger
// than 64 MiB, and certificates that neither a known authority signed nor the
// operator pinned.
package vcd
