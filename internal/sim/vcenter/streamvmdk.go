package vcenter

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
)

// The stream-optimized VMDK of the Virtual Disk Format 5.0 specification:
// header, descriptor, deflated grains in ascending order, each with a
// marker, a grain table after every 512 grains' range that holds one, then
// grain directory, footer and end-of-stream marker, all in whole sectors.
const (
	vmdkMagic    = 0x564d444b
	grainSectors = 128
	grainSize    = grainSectors * sectorSize
	gtEntries    = 512
	vmdkOverhead = 128 // sectors before the first grain
	vmdkFlags    = 1 | 1<<16 | 1<<17
	gdAtEnd      = ^uint64(0)

	markerEOS    = 0
	markerTable  = 1
	markerDir    = 2
	markerFooter = 3
)

var errCorrupt = errors.New("corrupt stream-optimized VMDK")

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errCorrupt, fmt.Sprintf(format, args...))
}

type vmdkHeader struct {
	Magic, Version, Flags         uint32
	Capacity, GrainSize           uint64
	DescriptorOffset, DescSize    uint64
	NumGTEs                       uint32
	RGDOffset, GDOffset, OverHead uint64
	Unclean                       uint8
	Newlines                      [4]byte
	Compress                      uint16
	Pad                           [433]byte
}

// A vmdkWriter encodes one disk.
type vmdkWriter struct {
	w      io.Writer
	header vmdkHeader
	sector uint64 // of the next byte to write
	table  [gtEntries]uint32
	used   bool
	index  int64 // of the table
	dir    []uint32
	z      *zlib.Writer
	buf    bytes.Buffer
}

func newVMDKWriter(w io.Writer, capacity int64, name string) (*vmdkWriter, error) {
	sectors := uint64(capacity / sectorSize)
	tables := (capacity + gtEntries*grainSize - 1) / (gtEntries * grainSize)
	v := &vmdkWriter{w: w, dir: make([]uint32, tables), header: vmdkHeader{
		Magic: vmdkMagic, Version: 3, Flags: vmdkFlags, Capacity: sectors, GrainSize: grainSectors,
		DescriptorOffset: 1, DescSize: 20, NumGTEs: gtEntries, GDOffset: gdAtEnd, OverHead: vmdkOverhead,
		Newlines: [4]byte{'\n', ' ', '\r', '\n'}, Compress: 1,
	}}
	z, err := zlib.NewWriterLevel(&v.buf, zlib.BestSpeed)
	if err != nil {
		return nil, err
	}
	v.z = z
	h := fnv.New32a()
	fmt.Fprint(h, name, capacity)
	desc := fmt.Sprintf("# Disk DescriptorFile\nversion=1\nCID=%08x\nparentCID=ffffffff\ncreateType=\"streamOptimized\"\n\n"+
		"# Extent description\nRDONLY %d SPARSE %q\n\n# The Disk Data Base\n#DDB\n\nddb.adapterType = \"lsilogic\"\n"+
		"ddb.geometry.cylinders = \"%d\"\nddb.geometry.heads = \"255\"\nddb.geometry.sectors = \"63\"\nddb.virtualHWVersion = \"4\"\n",
		h.Sum32(), sectors, name, min(sectors/255/63, 65535))
	var b bytes.Buffer
	_ = binary.Write(&b, binary.LittleEndian, v.header)
	b.WriteString(desc)
	b.Write(make([]byte, vmdkOverhead*sectorSize-b.Len()))
	return v, v.write(b.Bytes())
}

// write appends p, padded to a sector.
func (v *vmdkWriter) write(p []byte) error {
	if pad := -len(p) & (sectorSize - 1); pad > 0 {
		p = append(p, make([]byte, pad)...)
	}
	v.sector += uint64(len(p) / sectorSize)
	_, err := v.w.Write(p)
	return err
}

func (v *vmdkWriter) marker(sectors uint64, kind uint32) error {
	var m [sectorSize]byte
	binary.LittleEndian.PutUint64(m[:], sectors)
	binary.LittleEndian.PutUint32(m[12:], kind)
	return v.write(m[:])
}

// grain appends the grain at off, which ascends from call to call. data is
// at most grainSize long, less only at the disk's end.
func (v *vmdkWriter) grain(off int64, data []byte) error {
	n := off / grainSize
	for v.index < n/gtEntries {
		if err := v.endTable(); err != nil {
			return err
		}
	}
	v.buf.Reset()
	var m [12]byte
	v.buf.Write(m[:])
	v.z.Reset(&v.buf)
	if _, err := v.z.Write(data); err != nil {
		return err
	}
	if _, err := v.z.Write(zeroBlock[:grainSize-len(data)]); err != nil {
		return err
	}
	if err := v.z.Close(); err != nil {
		return err
	}
	p := v.buf.Bytes()
	binary.LittleEndian.PutUint64(p, uint64(off/sectorSize))
	binary.LittleEndian.PutUint32(p[8:], uint32(len(p)-12))
	v.table[n%gtEntries], v.used = uint32(v.sector), true
	return v.write(p)
}

func (v *vmdkWriter) endTable() error {
	if v.used {
		if err := v.marker(gtEntries*4/sectorSize, markerTable); err != nil {
			return err
		}
		v.dir[v.index] = uint32(v.sector)
		var b bytes.Buffer
		_ = binary.Write(&b, binary.LittleEndian, v.table)
		if err := v.write(b.Bytes()); err != nil {
			return err
		}
		v.table, v.used = [gtEntries]uint32{}, false
	}
	v.index++
	return nil
}

// close appends what follows the last grain.
func (v *vmdkWriter) close() error {
	if err := v.endTable(); err != nil {
		return err
	}
	var b bytes.Buffer
	_ = binary.Write(&b, binary.LittleEndian, v.dir)
	if err := v.marker(uint64(b.Len()+sectorSize-1)/sectorSize, markerDir); err != nil {
		return err
	}
	v.header.GDOffset = v.sector
	if err := v.write(b.Bytes()); err != nil {
		return err
	}
	if err := v.marker(1, markerFooter); err != nil {
		return err
	}
	b.Reset()
	_ = binary.Write(&b, binary.LittleEndian, v.header)
	if err := v.write(b.Bytes()); err != nil {
		return err
	}
	return v.marker(0, markerEOS)
}

// decodeVMDK reads a stream for a disk of the given capacity and hands over
// its grains, clipped to the capacity. Anything out of place is errCorrupt.
func decodeVMDK(r io.Reader, capacity int64, grain func(off int64, data []byte) error) error {
	d := &vmdkDecoder{r: r, at: map[int64]uint32{}, last: -1}
	if err := d.begin(capacity); err != nil {
		return err
	}
	for {
		done, err := d.next(capacity, grain)
		if err != nil || done {
			return err
		}
	}
}

type vmdkDecoder struct {
	r      io.Reader
	sector uint64
	header vmdkHeader
	at     map[int64]uint32 // sectors of the grains since the last table
	last   int64
	footer bool
	z      io.ReadCloser
	out    bytes.Buffer
}

func (d *vmdkDecoder) read(sectors uint64) ([]byte, error) {
	p := make([]byte, sectors*sectorSize)
	if n, err := io.ReadFull(d.r, p); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, corrupt("ends after %d bytes", d.sector*sectorSize+uint64(n))
		}
		return nil, err
	}
	d.sector += sectors
	return p, nil
}

func (d *vmdkDecoder) begin(capacity int64) error {
	p, err := d.read(1)
	if err != nil {
		return err
	}
	_ = binary.Read(bytes.NewReader(p), binary.LittleEndian, &d.header)
	h := &d.header
	switch {
	case h.Magic != vmdkMagic:
		return corrupt("magic %#x", h.Magic)
	case h.Version < 1 || h.Version > 3 || h.Flags&(1<<16|1<<17) != 1<<16|1<<17 || h.Compress != 1:
		return corrupt("version %d, flags %#x, compression %d: not stream-optimized", h.Version, h.Flags, h.Compress)
	case h.GrainSize != grainSectors || h.NumGTEs != gtEntries:
		return corrupt("grains of %d sectors, %d in a table", h.GrainSize, h.NumGTEs)
	case h.Newlines != [4]byte{'\n', ' ', '\r', '\n'}:
		return corrupt("newlines were converted")
	case h.Capacity != uint64(capacity/sectorSize):
		return corrupt("capacity of %d sectors for a disk of %d", h.Capacity, capacity/sectorSize)
	case h.OverHead < 1 || h.OverHead > 1<<20:
		return corrupt("overhead of %d sectors", h.OverHead)
	}
	return d.skip(h.OverHead - 1)
}

// skip reads over sectors; how many there are is not to be believed.
func (d *vmdkDecoder) skip(sectors uint64) error {
	n, err := io.CopyN(io.Discard, d.r, int64(sectors*sectorSize))
	if errors.Is(err, io.EOF) {
		return corrupt("ends after %d bytes", d.sector*sectorSize+uint64(n))
	}
	d.sector += sectors
	return err
}

func (d *vmdkDecoder) next(capacity int64, grain func(int64, []byte) error) (done bool, err error) {
	start := d.sector
	p, err := d.read(1)
	if err != nil {
		return false, err
	}
	value, size := binary.LittleEndian.Uint64(p), binary.LittleEndian.Uint32(p[8:])
	if size > 0 {
		return false, d.grain(start, int64(value), size, p, capacity, grain)
	}
	switch kind := binary.LittleEndian.Uint32(p[12:]); kind {
	case markerEOS:
		if value != 0 {
			return false, corrupt("end marker with value %d", value)
		}
		if d.header.GDOffset == gdAtEnd && !d.footer {
			return false, corrupt("no footer")
		}
		return true, nil
	case markerTable:
		return false, d.table(value)
	case markerDir:
		want := (uint64(capacity)+gtEntries*grainSize-1)/(gtEntries*grainSize)*4 + sectorSize - 1
		if value > want/sectorSize+8 { // some round up generously
			return false, corrupt("grain directory of %d sectors", value)
		}
		return false, d.skip(value)
	case markerFooter:
		return false, d.readFooter(value)
	default:
		return false, corrupt("marker of type %d", kind)
	}
}

func (d *vmdkDecoder) grain(start uint64, lba int64, size uint32, first []byte, capacity int64, grain func(int64, []byte) error) error {
	off := lba * sectorSize
	switch {
	case lba < 0 || lba%grainSectors != 0 || lba >= int64(d.header.Capacity):
		return corrupt("grain at sector %d", lba)
	case off <= d.last:
		return corrupt("grain at sector %d out of order", lba)
	case size > 2*grainSize:
		return corrupt("grain of %d bytes", size)
	}
	d.last = off
	deflated := first[12:]
	if more := int(size) - len(deflated); more > 0 {
		p, err := d.read(uint64(more+sectorSize-1) / sectorSize)
		if err != nil {
			return err
		}
		deflated = append(deflated, p...)
	}
	if err := d.inflate(deflated[:size]); err != nil {
		return corrupt("grain at sector %d: %v", lba, err)
	}
	want := min(grainSize, capacity-off)
	if n := int64(d.out.Len()); n < want || n > grainSize {
		return corrupt("grain at sector %d inflates to %d bytes", lba, n)
	}
	d.at[lba/grainSectors] = uint32(start)
	return grain(off, d.out.Bytes()[:want])
}

func (d *vmdkDecoder) inflate(p []byte) error {
	var err error
	if d.z == nil {
		d.z, err = zlib.NewReader(bytes.NewReader(p))
	} else {
		err = d.z.(zlib.Resetter).Reset(bytes.NewReader(p), nil)
	}
	if err != nil {
		return err
	}
	d.out.Reset()
	_, err = io.Copy(&d.out, io.LimitReader(d.z, grainSize+1))
	return err
}

// table checks a grain table against the grains that came before it.
func (d *vmdkDecoder) table(sectors uint64) error {
	if sectors != gtEntries*4/sectorSize {
		return corrupt("grain table of %d sectors", sectors)
	}
	p, err := d.read(sectors)
	if err != nil {
		return err
	}
	set := 0
	for i := range gtEntries {
		if binary.LittleEndian.Uint32(p[4*i:]) > 1 { // 1 stands for zeros
			set++
		}
	}
	if set != len(d.at) {
		return corrupt("grain table names %d grains, there were %d", set, len(d.at))
	}
	for n, at := range d.at {
		if got := binary.LittleEndian.Uint32(p[n%gtEntries*4:]); got != at {
			return corrupt("grain %d lies at %d, its table says %d", n, at, got)
		}
	}
	clear(d.at)
	return nil
}

func (d *vmdkDecoder) readFooter(sectors uint64) error {
	if sectors != 1 {
		return corrupt("footer of %d sectors", sectors)
	}
	p, err := d.read(1)
	if err != nil {
		return err
	}
	var f vmdkHeader
	_ = binary.Read(bytes.NewReader(p), binary.LittleEndian, &f)
	if f.Magic != vmdkMagic || f.Capacity != d.header.Capacity || f.GDOffset == gdAtEnd || f.GDOffset >= d.sector {
		return corrupt("footer")
	}
	d.footer = true
	return nil
}
