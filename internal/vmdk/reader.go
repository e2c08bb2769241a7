package vmdk

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/klauspost/compress/zlib"
)

// A Reader yields the grains of a stream in ascending order. It inflates
// several grains at a time, ahead of its caller.
type Reader struct {
	in     *bufio.Reader
	at     int64 // bytes taken from in
	header header

	// listed counts the grains that tables in front of the grains list.
	// Such a stream, as qemu-img writes it, has no end-of-stream marker:
	// it is whole when all of them came.
	listed int64
	fronts bool

	once  sync.Once
	order chan *grain // in the order of the stream; closed at its end
	work  chan *grain
	free  chan *grain
	stop  chan struct{}
	tasks sync.WaitGroup

	last *grain // what Next returned last
	err  error  // what Next goes on to return
}

// A grain is on its way through a Reader. Its buffers are used again.
type grain struct {
	off   int64 // bytes
	raw   []byte
	data  []byte
	err   error
	ready chan struct{} // capacity 1; holds a token when data or err is set
}

// NewReader reads the beginning of a stream. The error is ErrCorrupt where it
// is not stream-optimized VMDK, and ErrTruncated where it is too short.
func NewReader(r io.Reader) (*Reader, error) {
	d := &Reader{in: bufio.NewReaderSize(r, 256<<10), stop: make(chan struct{})}
	sector := make([]byte, sectorSize)
	if err := d.readFull(sector); err != nil {
		return nil, fmt.Errorf("vmdk: header: %w", err)
	}
	var err error
	if d.header, err = parseHeader(sector); err != nil {
		return nil, fmt.Errorf("vmdk: header: %w", err)
	}
	if d.header.Directory != directoryAtEnd && d.header.Directory != 0 {
		if err := d.countListed(); err != nil {
			return nil, fmt.Errorf("vmdk: grain tables: %w", err)
		}
	}
	if err := d.skipTo(int64(min(d.header.Overhead, maxCapacity))); err != nil {
		return nil, fmt.Errorf("vmdk: descriptor: %w", err)
	}
	return d, nil
}

// Capacity returns the size of the disk in bytes.
func (d *Reader) Capacity() int64 { return int64(d.header.Capacity) * sectorSize }

// Next returns the next grain and its offset on the disk in bytes; the last
// grain of a disk may be short. The data stays valid until the next call. The
// error is io.EOF after the end of a whole stream, ErrTruncated or ErrCorrupt
// where it is not whole, or what the underlying reader returned; it stays.
func (d *Reader) Next() (off int64, data []byte, err error) {
	if d.err != nil {
		return 0, nil, d.err
	}
	d.once.Do(d.start)
	if d.last != nil {
		d.free <- d.last
		d.last = nil
	}
	g, ok := <-d.order
	if !ok { // closed by Close
		d.err = errors.New("vmdk: reader is closed")
		return 0, nil, d.err
	}
	<-g.ready
	if g.err != nil {
		d.err = g.err
		return 0, nil, d.err
	}
	d.last = g
	return g.off, g.data, nil
}

// Close lets go of what the Reader holds. It waits for a read of the
// underlying reader that is under way: end that one first. Close must not run
// beside Next.
func (d *Reader) Close() error {
	d.once.Do(func() { d.order = make(chan *grain); close(d.order) })
	select {
	case <-d.stop:
	default:
		close(d.stop)
	}
	d.tasks.Wait()
	return nil
}

func (d *Reader) start() {
	workers := runtime.GOMAXPROCS(0)
	// Twice the workers, so that none waits while the caller works; one
	// more for the grain that the caller holds.
	ahead := 2*workers + 1
	d.order = make(chan *grain, ahead)
	d.work = make(chan *grain, ahead)
	d.free = make(chan *grain, ahead)
	for range ahead {
		d.free <- &grain{ready: make(chan struct{}, 1)}
	}
	d.tasks.Go(d.fetch)
	for range workers {
		d.tasks.Go(d.inflate)
	}
}

// fetch cuts the stream into compressed grains.
func (d *Reader) fetch() {
	defer close(d.order)
	defer close(d.work)
	next, count := int64(0), int64(0)
	for {
		var g *grain
		select {
		case g = <-d.free:
		case <-d.stop:
			return
		}
		// order and work have room for every grain there is.
		if g.err = d.nextRaw(g, next, count); g.err != nil {
			g.ready <- struct{}{}
			d.order <- g
			return
		}
		next, count = g.off+int64(d.header.GrainSize)*sectorSize, count+1
		d.work <- g
		d.order <- g
	}
}

// nextRaw reads up to and including the next grain, which begins at next or
// later; count grains have come before.
func (d *Reader) nextRaw(g *grain, next, count int64) error {
	for {
		var head [12]byte
		at := d.at
		if err := d.readFull(head[:]); err != nil {
			if errors.Is(err, ErrTruncated) && d.fronts && count == d.listed && d.at == at {
				return io.EOF
			}
			return fmt.Errorf("vmdk: marker at byte %d: %w", at, err)
		}
		value, size := binary.LittleEndian.Uint64(head[:]), binary.LittleEndian.Uint32(head[8:])
		var err error
		if size > 0 {
			err = d.readGrain(g, value, size, next)
			if err == nil {
				return nil
			}
		} else {
			err = d.skipMetadata(value)
			if err == io.EOF && d.fronts && count != d.listed {
				err = fmt.Errorf("%w: %d grains of %d", ErrTruncated, count, d.listed)
			}
			if err == io.EOF {
				return io.EOF
			}
		}
		if err != nil {
			return fmt.Errorf("vmdk: marker at byte %d: %w", at, err)
		}
	}
}

func (d *Reader) readGrain(g *grain, lba uint64, size uint32, next int64) error {
	limit := int64(d.header.GrainSize) * sectorSize
	switch {
	case lba >= d.header.Capacity || lba%d.header.GrainSize != 0:
		return fmt.Errorf("%w: grain at sector %d", ErrCorrupt, lba)
	case int64(lba)*sectorSize < next:
		return fmt.Errorf("%w: grain at sector %d is out of order", ErrCorrupt, lba)
	case int64(size) > 2*limit:
		// No encoder makes a grain twice its size.
		return fmt.Errorf("%w: compressed grain of %d bytes", ErrCorrupt, size)
	}
	g.off = int64(lba) * sectorSize
	if cap(g.raw) < int(size) {
		g.raw = make([]byte, 0, max(int(size), GrainSize))
	}
	g.raw = g.raw[:size]
	if err := d.readFull(g.raw); err != nil {
		return err
	}
	// The file of a stream may end with the last grain of qemu-img, without
	// padding; what else is missing is found at the next marker.
	if err := d.discard(padding(12 + int64(size))); err != nil && !errors.Is(err, ErrTruncated) {
		return err
	}
	return nil
}

// skipMetadata passes the rest of a marker and the metadata behind it. It
// returns io.EOF for the end-of-stream marker.
func (d *Reader) skipMetadata(sectors uint64) error {
	rest := make([]byte, sectorSize-12)
	if err := d.readFull(rest); err != nil {
		return err
	}
	want := int64(0)
	switch kind := binary.LittleEndian.Uint32(rest); kind {
	case markerEndOfStream:
		return io.EOF
	case markerTable:
		want = tableSectors
	case markerDirectory:
		want = d.header.directorySectors()
	case markerFooter:
		want = 1
	case markerProgress:
	default:
		return fmt.Errorf("%w: unknown kind %d", ErrCorrupt, kind)
	}
	// Some writers round metadata up to whole grains.
	if sectors > uint64(want)+maxGrainSectors {
		return fmt.Errorf("%w: metadata of %d sectors", ErrCorrupt, sectors)
	}
	return d.discard(int64(sectors) * sectorSize)
}

// countListed counts the grains in tables that stand before the grains.
func (d *Reader) countListed() error {
	d.fronts = true
	if d.header.Directory >= d.header.Overhead {
		return fmt.Errorf("%w: grain directory at sector %d", ErrCorrupt, d.header.Directory)
	}
	if err := d.skipTo(int64(min(d.header.Directory, maxCapacity))); err != nil {
		return err
	}
	// Not allocated by what the header claims, but by what comes.
	size := d.header.tables() * 4
	directory, err := io.ReadAll(io.LimitReader(d.in, size))
	d.at += int64(len(directory))
	if err != nil {
		return err
	}
	if int64(len(directory)) < size {
		return ErrTruncated
	}
	table := make([]byte, tableEntries*4)
	for ; len(directory) > 0; directory = directory[4:] {
		sector := binary.LittleEndian.Uint32(directory)
		if sector == 0 {
			continue
		}
		if uint64(sector)+tableSectors > d.header.Overhead {
			return fmt.Errorf("%w: grain table at sector %d", ErrCorrupt, sector)
		}
		if err := d.skipTo(int64(sector)); err != nil {
			return err
		}
		if err := d.readFull(table); err != nil {
			return err
		}
		for e := table; len(e) > 0; e = e[4:] {
			if binary.LittleEndian.Uint32(e) > 1 { // 1 stands for a grain of zeros
				d.listed++
			}
		}
	}
	return nil
}

// readFull fills p, or fails with ErrTruncated at the end of the stream.
func (d *Reader) readFull(p []byte) error {
	n, err := io.ReadFull(d.in, p)
	d.at += int64(n)
	return truncated(err)
}

// discard passes n bytes.
func (d *Reader) discard(n int64) error {
	k, err := io.CopyN(io.Discard, d.in, n)
	d.at += k
	return truncated(err)
}

// skipTo passes what lies before the given sector.
func (d *Reader) skipTo(sector int64) error {
	if sector*sectorSize < d.at {
		return fmt.Errorf("%w: sector %d is out of order", ErrCorrupt, sector)
	}
	return d.discard(sector*sectorSize - d.at)
}

func truncated(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return ErrTruncated
	}
	return err
}

// inflate decompresses grains until there are no more.
func (d *Reader) inflate() {
	src := bytes.NewReader(nil)
	var z io.ReadCloser
	for g := range d.work {
		src.Reset(g.raw)
		if z == nil {
			z, g.err = zlib.NewReader(src)
		} else {
			g.err = z.(zlib.Resetter).Reset(src, nil)
		}
		if g.err == nil {
			g.err = g.inflateFrom(z, d.header)
		}
		if g.err != nil {
			g.err = fmt.Errorf("vmdk: grain at sector %d: %w: %w", g.off/sectorSize, ErrCorrupt, g.err)
			z = nil
		}
		g.ready <- struct{}{}
	}
}

func (g *grain) inflateFrom(z io.Reader, h header) error {
	size := int64(h.GrainSize) * sectorSize
	if g.data == nil {
		g.data = make([]byte, size)
	}
	g.data = g.data[:size]
	n := 0
	// The end of z is worth reading even when g.data is full: there the
	// checksum is compared.
	var beyond [1]byte
	for {
		into := g.data[n:]
		if len(into) == 0 {
			into = beyond[:]
		}
		k, err := z.Read(into)
		if n += k; n > int(size) {
			return errors.New("longer than a grain")
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	want := min(size, int64(h.Capacity)*sectorSize-g.off)
	if int64(n) < want {
		return fmt.Errorf("%d bytes of %d", n, want)
	}
	g.data = g.data[:want]
	return nil
}
