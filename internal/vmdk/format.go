// Package vmdk reads and writes stream-optimized VMDK, the form in which NFC
// leases of vSphere carry virtual disks: compressed grains in ascending order,
// what is missing between them is zeros. It works on streams, so nothing is
// ever sought and a disk of any size passes through a few megabytes of memory.
//
// It reads what ESXi and qemu-img write, and what it writes satisfies
// `qemu-img check`. A stream that ends early is an error, never a shorter
// disk. It does not read other kinds of VMDK (flat, sparse, delta).
//
// The format is described in VMware's "Virtual Disk Format 5.0", section
// "Stream-Optimized Compressed Sparse Extents". All numbers are little-endian
// and most are counts of sectors.
package vmdk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrTruncated says that a stream ended before its end-of-stream marker.
var ErrTruncated = errors.New("stream ends early")

// ErrCorrupt says that a stream is not stream-optimized VMDK, or is damaged.
var ErrCorrupt = errors.New("corrupt stream")

// GrainSize is the number of bytes in each grain that a Writer writes.
const GrainSize = grainSectors * sectorSize

const (
	sectorSize   = 512
	grainSectors = 128
	tableEntries = 512 // grains that a grain table lists
	tableSectors = tableEntries * 4 / sectorSize

	// maxCapacity is beyond every datastore's largest disk (62 TiB).
	maxCapacity = 64 << 40 / sectorSize
	// maxGrainSectors bounds what one grain may take of a reader's memory.
	maxGrainSectors = 1 << 20 / sectorSize

	magic             = 0x564d444b // "KDMV"
	version           = 3          // what VMware's products and qemu-img write
	flagNewlineTest   = 1 << 0
	flagCompressed    = 1 << 16
	flagMarkers       = 1 << 17
	compressDeflate   = 1
	directoryAtEnd    = ^uint64(0)
	descriptorSector  = 1
	descriptorSectors = 20
)

// Types of the markers that stand before metadata.
const (
	markerEndOfStream = iota
	markerTable
	markerDirectory
	markerFooter
	// markerProgress is not in the specification: hosts send it, without
	// metadata, to show that they are alive while they pass empty regions.
	markerProgress
)

// header is the first sector of a stream, and its footer.
type header struct {
	Magic, Version, Flags              uint32
	Capacity, GrainSize                uint64 // sectors
	DescriptorOffset, DescriptorSize   uint64 // sectors
	TableEntries                       uint32
	SecondDirectory, Directory         uint64 // sectors
	Overhead                           uint64 // sectors
	Unclean                            byte
	SingleEnd, NonEnd, DoubleA, Double byte
	Compression                        uint16
}

func newHeader(capacity uint64) header {
	return header{
		Magic: magic, Version: version, Flags: flagNewlineTest | flagCompressed | flagMarkers,
		Capacity: capacity, GrainSize: grainSectors,
		DescriptorOffset: descriptorSector, DescriptorSize: descriptorSectors,
		TableEntries: tableEntries, Directory: directoryAtEnd, Overhead: grainSectors,
		SingleEnd: '\n', NonEnd: ' ', DoubleA: '\r', Double: '\n', Compression: compressDeflate,
	}
}

// sector returns h as it stands in a stream.
func (h header) sector() []byte {
	b, err := binary.Append(nil, binary.LittleEndian, h)
	if err != nil {
		panic(err) // a fixed-size struct always encodes
	}
	return append(b, make([]byte, sectorSize-len(b))...)
}

func parseHeader(sector []byte) (header, error) {
	var h header
	if err := binary.Read(bytes.NewReader(sector), binary.LittleEndian, &h); err != nil {
		return h, err
	}
	return h, h.check()
}

func (h header) check() error {
	corrupt := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
	}
	switch {
	case h.Magic != magic:
		return corrupt("no VMDK header")
	case h.Version < 1 || h.Version > 3:
		return corrupt("unknown version %d", h.Version)
	case h.Flags&flagNewlineTest != 0 && [4]byte{h.SingleEnd, h.NonEnd, h.DoubleA, h.Double} != [4]byte{'\n', ' ', '\r', '\n'}:
		return corrupt("newlines were translated")
	case h.Flags&flagCompressed == 0 || h.Flags&flagMarkers == 0 || h.Compression != compressDeflate:
		return corrupt("not stream-optimized (flags %#x, compression %d)", h.Flags, h.Compression)
	case h.Capacity > maxCapacity:
		return corrupt("capacity of %d sectors", h.Capacity)
	case h.GrainSize < 8 || h.GrainSize > maxGrainSectors || h.GrainSize&(h.GrainSize-1) != 0:
		return corrupt("grain of %d sectors", h.GrainSize)
	case h.TableEntries != tableEntries:
		return corrupt("grain table of %d entries", h.TableEntries)
	case h.Overhead < 1:
		return corrupt("no room for the header")
	}
	return nil
}

// tables returns the number of grain tables that cover the disk, which is the
// number of entries in its grain directory.
func (h header) tables() int64 {
	covered := h.GrainSize * tableEntries
	return int64((h.Capacity + covered - 1) / covered)
}

// directorySectors returns the size of the grain directory in sectors.
func (h header) directorySectors() int64 {
	return (h.tables()*4 + sectorSize - 1) / sectorSize
}

// metadataMarker returns the marker before the given number of sectors of
// metadata.
func metadataMarker(kind uint32, sectors int64) []byte {
	b := make([]byte, sectorSize)
	binary.LittleEndian.PutUint64(b, uint64(sectors))
	binary.LittleEndian.PutUint32(b[12:], kind)
	return b
}

// padding returns how many bytes are missing to a whole sector.
func padding(n int64) int64 { return (sectorSize - n%sectorSize) % sectorSize }

func descriptor(capacity uint64, cid uint32) []byte {
	const heads, track = 255, 63
	text := fmt.Sprintf(`# Disk DescriptorFile
version=1
CID=%08x
parentCID=ffffffff
createType="streamOptimized"

# Extent description
RW %d SPARSE "disk.vmdk"

# The Disk Data Base
#DDB

ddb.adapterType = "lsilogic"
ddb.geometry.cylinders = "%d"
ddb.geometry.heads = "%d"
ddb.geometry.sectors = "%d"
ddb.virtualHWVersion = "8"
`, cid, capacity, min(max(1, capacity/(heads*track)), 65535), heads, track)
	return append([]byte(text), make([]byte, descriptorSectors*sectorSize-len(text))...)
}
