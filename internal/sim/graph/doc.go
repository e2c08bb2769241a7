// Package graph saves plain Go data that points at itself, and loads it.
//
// It promises that what Load makes is what Save was given: values of structs
// with unexported fields too, pointers with their identity and their cycles,
// slices and maps (nil apart from empty), times to the nanosecond, interfaces
// that hold known types, and XML elements with all below them. Fields are found
// by name, so that a file may have fields that the program has no more and lack
// those that it has by now: these stay as they were before Load. Damaged input
// is an error that names the field, never a panic, and takes no more memory
// than a multiple of what was read.
//
// It refuses numbers that do not fit, fields whose kind has changed, complex
// numbers, and interfaces that hold a type that nobody named. It leaves out
// fields tagged `graph:"-"` and those that no file can hold: functions,
// channels, contexts, locks. Two slices or maps over the same memory become
// two of their own, and so does a pointer into the middle of another value.
//
// # Format
//
// A file is the magic "vvgraph1" and blocks: the length of the content as a
// varint (at most 1 MiB), the content, its CRC-32C, little endian. An empty
// block ends the file. The content is the root's type, the root's value, and
// then the values of all things that were pointed at, in the order in which they
// were first mentioned. Numbers are varints, signed ones zigzag.
//
// A type is its number, counted from 0, and where the number is new its
// definition: a byte for the kind, the name (import path and name; empty for
// one without), and, by kind, the element's type, the key's and the element's,
// the length and the element's, or the number of fields and each one's name and
// type. A value is, by kind:
//
//	bool       a byte
//	number     a varint; floats 8 bytes
//	string     length and bytes, as []byte and what marshals itself into bytes,
//	           which has a 0 before it where it is nil, else a 1
//	time       seconds since 1970, nanoseconds, and the zone: 0 UTC, 1 that of
//	           the program, 2 an offset, which follows in seconds
//	struct     the byte 0x7b and the fields
//	pointer    0 for nil; else the thing's number, from 1. The first mention of
//	           a thing has the next number
//	slice, map 0 for nil; else the length plus 1, and the elements
//	array      the elements
//	interface  0 for nil; else 1, the type and the value
//	element    the XML: space, tag, attributes, children
package graph
