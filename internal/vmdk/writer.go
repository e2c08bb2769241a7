package vmdk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"

	"github.com/klauspost/compress/zlib"
)

// WriterOptions are how a Writer compresses.
type WriterOptions struct {
	Level    int // of deflate, 1 (fast) to 9 (small); 0 means 1
	Parallel int // grains compressed at a time; 0 means one for each processor
}

// A Writer writes a stream. It compresses several grains at a time, so an
// error of the underlying writer may come with a later call. Every Writer
// ends with Close or Abort.
type Writer struct {
	out      io.Writer
	capacity int64 // bytes
	options  WriterOptions
	next     int64 // where the next grain may begin

	order chan *cell
	work  chan *cell
	free  chan *cell
	stop  chan struct{} // closed when nothing more will be written
	tasks sync.WaitGroup

	mu    sync.Mutex
	err   error
	ended bool

	// These belong to the task that writes, and to Close when it is over.
	sector    int64 // how many were written
	table     []byte
	tableAt   int64 // which table that is; -1 for none
	directory []tableEntry
}

// A tableEntry says where a grain table stands. Only tables with grains in
// them have one: the directory of a 62 TiB disk has two million entries.
type tableEntry struct {
	index, sector uint32
}

// A cell is a grain on its way through a Writer.
type cell struct {
	off   int64
	plain []byte
	out   bytes.Buffer // marker, compressed grain, padding
	err   error
	ready chan struct{} // capacity 1
}

// NewWriter writes the beginning of a stream for a disk of the given capacity
// in bytes, a multiple of 512.
func NewWriter(w io.Writer, capacity int64, o WriterOptions) (*Writer, error) {
	if capacity < 0 || capacity%sectorSize != 0 || capacity/sectorSize > maxCapacity {
		return nil, fmt.Errorf("vmdk: capacity of %d bytes is not that of a disk", capacity)
	}
	if o.Level == 0 {
		o.Level = 1
	}
	if o.Parallel < 1 {
		o.Parallel = runtime.GOMAXPROCS(0)
	}
	if _, err := zlib.NewWriterLevel(io.Discard, o.Level); err != nil {
		return nil, fmt.Errorf("vmdk: %w", err)
	}
	e := &Writer{out: w, capacity: capacity, options: o, stop: make(chan struct{}),
		table: make([]byte, tableEntries*4), tableAt: -1}
	h := newHeader(uint64(capacity / sectorSize))
	start := append(h.sector(), descriptor(h.Capacity, rand.Uint32N(math.MaxUint32))...)
	start = append(start, make([]byte, grainSectors*sectorSize-len(start))...)
	if err := e.emit(start); err != nil {
		return nil, fmt.Errorf("vmdk: header: %w", err)
	}
	ahead := 2 * o.Parallel
	e.order = make(chan *cell, ahead)
	e.work = make(chan *cell, ahead)
	e.free = make(chan *cell, ahead)
	for range ahead {
		e.free <- &cell{ready: make(chan struct{}, 1)}
	}
	e.tasks.Go(e.write)
	for range o.Parallel {
		e.tasks.Go(e.deflate)
	}
	return e, nil
}

// WriteGrain writes the grain at off, a multiple of GrainSize and beyond every
// grain before. The data is GrainSize bytes, or up to the end of the disk, and
// free for other use afterwards. Grains of zeros are left out.
func (e *Writer) WriteGrain(off int64, data []byte) error {
	if off%GrainSize != 0 || off < e.next || off >= e.capacity {
		return fmt.Errorf("vmdk: grain at byte %d is out of order", off)
	}
	if want := min(GrainSize, e.capacity-off); int64(len(data)) != want {
		return fmt.Errorf("vmdk: grain at byte %d: %d bytes of %d", off, len(data), want)
	}
	e.next = off + GrainSize
	if zero(data) {
		return e.failure()
	}
	select {
	case <-e.stop:
		return e.failure()
	case c := <-e.free:
		c.off = off
		// Readers expect whole grains, at the end of the disk too.
		c.plain = append(append(c.plain[:0], data...), make([]byte, GrainSize-len(data))...)
		e.work <- c // both have room for every cell there is
		e.order <- c
		return nil
	}
}

// Close writes what is left of the stream. Nothing but a nil error means that
// it is whole.
func (e *Writer) Close() error {
	if !e.end() {
		return e.failure()
	}
	if err := e.failure(); err != nil {
		return err
	}
	err := e.finish()
	if err != nil {
		err = fmt.Errorf("vmdk: end of stream: %w", err)
	}
	e.fail(err)
	return err
}

// Abort ends a stream unfinished, after which Close fails. It waits for a
// write of the underlying writer that is under way: end that one first. After
// Close it does nothing.
func (e *Writer) Abort() {
	if !e.ended {
		e.fail(errors.New("vmdk: stream was aborted"))
		e.end()
	}
}

// end waits for the tasks. It reports whether it did so for the first time.
func (e *Writer) end() bool {
	if e.ended {
		return false
	}
	e.ended = true
	close(e.work)
	close(e.order)
	e.tasks.Wait()
	return true
}

// fail records the first error, and stops the tasks.
func (e *Writer) fail(err error) {
	if err == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err == nil {
		e.err = err
		close(e.stop)
	}
}

func (e *Writer) failure() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}

// deflate compresses grains until there are no more.
func (e *Writer) deflate() {
	z, err := zlib.NewWriterLevel(io.Discard, e.options.Level)
	for c := range e.work {
		if c.err = err; err == nil {
			c.err = c.deflate(z)
		}
		c.ready <- struct{}{}
	}
}

func (c *cell) deflate(z *zlib.Writer) error {
	var head [12]byte
	c.out.Reset()
	c.out.Write(head[:])
	z.Reset(&c.out)
	if _, err := z.Write(c.plain); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	size := c.out.Len() - len(head)
	c.out.Write(make([]byte, padding(int64(c.out.Len()))))
	binary.LittleEndian.PutUint64(c.out.Bytes(), uint64(c.off/sectorSize))
	binary.LittleEndian.PutUint32(c.out.Bytes()[8:], uint32(size))
	return nil
}

// write brings compressed grains out in order, each table after its grains.
func (e *Writer) write() {
	for c := range e.order {
		<-c.ready
		if e.failure() == nil {
			e.fail(e.writeCell(c))
		}
		e.free <- c
	}
}

func (e *Writer) writeCell(c *cell) error {
	if c.err != nil {
		return fmt.Errorf("vmdk: grain at byte %d: %w", c.off, c.err)
	}
	n := c.off / GrainSize
	if at := n / tableEntries; at != e.tableAt {
		if err := e.writeTable(); err != nil {
			return fmt.Errorf("vmdk: grain table: %w", err)
		}
		e.tableAt = at
	}
	binary.LittleEndian.PutUint32(e.table[n%tableEntries*4:], e.position())
	if err := e.emit(c.out.Bytes()); err != nil {
		return fmt.Errorf("vmdk: grain at byte %d: %w", c.off, err)
	}
	return nil
}

// position returns where the next sector stands, as tables say it. They cannot
// beyond 2 TiB: readers of a stream do not use them, and whoever does gets an
// error, not zeros, from a position that is not there.
func (e *Writer) position() uint32 {
	return uint32(min(e.sector, math.MaxUint32))
}

func (e *Writer) writeTable() error {
	if e.tableAt < 0 {
		return nil
	}
	if err := e.emit(metadataMarker(markerTable, tableSectors)); err != nil {
		return err
	}
	e.directory = append(e.directory, tableEntry{index: uint32(e.tableAt), sector: e.position()})
	err := e.emit(e.table)
	clear(e.table)
	return err
}

// finish writes the last table, the directory, the footer and the end.
func (e *Writer) finish() error {
	if err := e.writeTable(); err != nil {
		return err
	}
	h := newHeader(uint64(e.capacity / sectorSize))
	if err := e.emit(metadataMarker(markerDirectory, h.directorySectors())); err != nil {
		return err
	}
	h.Directory = uint64(e.sector)
	if err := e.writeDirectory(h.directorySectors()); err != nil {
		return err
	}
	if err := e.emit(metadataMarker(markerFooter, 1)); err != nil {
		return err
	}
	if err := e.emit(h.sector()); err != nil {
		return err
	}
	return e.emit(metadataMarker(markerEndOfStream, 0))
}

func (e *Writer) writeDirectory(sectors int64) error {
	const perSector = sectorSize / 4
	rest := e.directory
	for s := range sectors {
		sector := make([]byte, sectorSize)
		for len(rest) > 0 && int64(rest[0].index) < (s+1)*perSector {
			binary.LittleEndian.PutUint32(sector[rest[0].index%perSector*4:], rest[0].sector)
			rest = rest[1:]
		}
		if err := e.emit(sector); err != nil {
			return err
		}
	}
	return nil
}

// emit writes whole sectors.
func (e *Writer) emit(b []byte) error {
	_, err := e.out.Write(b)
	e.sector += int64(len(b) / sectorSize)
	return err
}

var zeros [4096]byte

// zero reports whether b holds nothing but zeros.
func zero(b []byte) bool {
	for len(b) > len(zeros) {
		if !bytes.Equal(b[:len(zeros)], zeros[:]) {
			return false
		}
		b = b[len(zeros):]
	}
	return bytes.Equal(b, zeros[:len(b)])
}
