package graph

import (
	"bufio"
	"encoding"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"reflect"
	"time"
	"unsafe"
)

// ErrDamaged is the error of Load for what Save did not write, or not like
// that.
var ErrDamaged = errors.New("not a saved graph, or a damaged one")

// A shape is a type as the file describes it.
type shape struct {
	kind   kind
	name   string
	key    *shape
	elem   *shape
	length uint64
	fields []field
}

type field struct {
	name string
	*shape
}

// A reader reads values of one shape into one type of the program, to p. With
// p nil it reads over them.
type reader struct {
	read func(d *decoder, p unsafe.Pointer)
}

type pairing struct {
	s *shape
	t reflect.Type
}

// An arrival is a thing that was mentioned. Its type is nil where nobody here
// wants it.
type arrival struct {
	*shape
	t    reflect.Type
	p    unsafe.Pointer
	read bool
}

type decoder struct {
	c      *Codec
	in     *bufio.Reader
	block  []byte // what is left of the one being read
	store  []byte // of the block
	end    bool   // the last block was read
	shapes []*shape
	plans  map[pairing]*reader
	things []arrival
	err    *fieldError
	depth  int
}

// Load reads a graph into root, a pointer to a struct. What root pointed at is
// left alone; its fields that the file lacks stay. After an error it holds a
// part of the graph.
func (c *Codec) Load(r io.Reader, root any) error {
	v := reflect.ValueOf(root)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return fmt.Errorf("graph: load: %T: want a pointer", root)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t := v.Type().Elem()
	c.learn(t)
	d := &decoder{c: c, in: bufio.NewReaderSize(r, blockSize), plans: map[pairing]*reader{}}
	head := make([]byte, len(magic))
	if _, err := io.ReadFull(d.in, head); err != nil || string(head) != magic {
		return fmt.Errorf("graph: load: %w", ErrDamaged)
	}
	d.things = append(d.things, arrival{shape: d.typ(), t: t, p: v.UnsafePointer()})
	for next := 0; next < len(d.things) && d.err == nil; next++ {
		o := d.things[next]
		d.things[next].read = true
		if d.plan(o.shape, o.t).read(d, o.p); d.err != nil {
			name := o.name
			if o.t != nil {
				name = short(o.t)
			}
			d.under(fmt.Sprintf("%s#%d", name, next))
		}
	}
	if d.err == nil && (len(d.block) > 0 || d.fill()) {
		d.damaged("more than one graph")
	}
	if d.err != nil {
		return fmt.Errorf("graph: load: %w", d.err)
	}
	return nil
}

func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err = &fieldError{err: err}
	}
	d.block, d.end = nil, true // so that whatever loops ends
}

func (d *decoder) damaged(format string, args ...any) {
	d.fail(fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...)))
}

func (d *decoder) under(where string) { d.err.path = where + d.err.path }

func (d *decoder) deeper(do func()) {
	if d.depth++; d.depth > maxDepth {
		d.damaged("deeper than %d", maxDepth)
	} else {
		do()
	}
	d.depth--
}

// fill reads the next block; false at the end.
func (d *decoder) fill() bool {
	if d.end {
		return false
	}
	n, err := binary.ReadUvarint(d.in)
	if err != nil || n > maxBlock {
		d.damaged("block of %d bytes", n)
		return false
	}
	if n == 0 {
		d.end = true
		return false
	}
	if uint64(cap(d.store)) < n+4 {
		d.store = make([]byte, n+4)
	}
	all := d.store[:n+4]
	if _, err := io.ReadFull(d.in, all); err != nil {
		d.damaged("it ends too early")
		return false
	}
	if crc32.Checksum(all[:n], castagnoli) != binary.LittleEndian.Uint32(all[n:]) {
		d.damaged("a block has another checksum")
		return false
	}
	d.block = all[:n]
	return true
}

func (d *decoder) byte() byte {
	if len(d.block) == 0 && !d.fill() {
		if d.err == nil {
			d.damaged("it ends too early")
		}
		return 0
	}
	b := d.block[0]
	d.block = d.block[1:]
	return b
}

func (d *decoder) uint() uint64 {
	if n, size := binary.Uvarint(d.block); size > 0 {
		d.block = d.block[size:]
		return n
	}
	var n uint64
	for shift := uint(0); shift < 64 && d.err == nil; shift += 7 {
		b := d.byte()
		n |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return n
		}
	}
	if d.err == nil {
		d.damaged("number too long")
	}
	return 0
}

func (d *decoder) int() int64 {
	n := d.uint()
	return int64(n>>1) ^ -int64(n&1)
}

// take reads n bytes, into memory that grows only as they come.
func (d *decoder) take(n uint64) []byte {
	if uint64(len(d.block)) >= n {
		b := d.block[:n:n]
		d.block = d.block[n:]
		return b
	}
	var all []byte
	for n > 0 && d.err == nil {
		if len(d.block) == 0 && !d.fill() {
			if d.err == nil {
				d.damaged("it ends too early")
			}
			return nil
		}
		part := d.block[:min(n, uint64(len(d.block)))]
		all = append(all, part...)
		d.block = d.block[len(part):]
		n -= uint64(len(part))
	}
	return all
}

func (d *decoder) string() string { return string(d.take(d.uint())) }

// typ reads a type.
func (d *decoder) typ() *shape {
	n := d.uint()
	if n < uint64(len(d.shapes)) {
		return d.shapes[n]
	}
	s := &shape{}
	if n > uint64(len(d.shapes)) || d.err != nil {
		d.damaged("type %d", n)
		return s
	}
	d.shapes = append(d.shapes, s)
	s.kind, s.name = kind(d.byte()), d.string()
	d.deeper(func() {
		switch s.kind {
		case kindPointer, kindSlice:
			s.elem = d.typ()
		case kindArray:
			s.length = d.uint()
			s.elem = d.typ()
		case kindMap:
			s.key = d.typ()
			s.elem = d.typ()
		case kindStruct:
			n := d.uint()
			for i := uint64(0); i < n && d.err == nil; i++ {
				name := d.string()
				s.fields = append(s.fields, field{name, d.typ()})
			}
		}
	})
	if s.kind == 0 || s.kind >= kinds {
		d.damaged("type %s: %v", s.name, s.kind)
	}
	return s
}

// program is the program's type of a shape; nil when it has none.
func (d *decoder) program(s *shape, depth int) reflect.Type {
	if s.name != "" {
		return d.c.known[s.name]
	}
	if depth > 16 {
		return nil
	}
	switch s.kind {
	case kindPointer:
		if t := d.program(s.elem, depth+1); t != nil {
			return reflect.PointerTo(t)
		}
	case kindSlice, kindBytes:
		if s.kind == kindBytes {
			return reflect.TypeFor[[]byte]()
		}
		if t := d.program(s.elem, depth+1); t != nil {
			return reflect.SliceOf(t)
		}
	case kindMap:
		k, e := d.program(s.key, depth+1), d.program(s.elem, depth+1)
		if k != nil && e != nil && k.Comparable() {
			return reflect.MapOf(k, e)
		}
	}
	return nil
}

// pointer reads the number of a thing; the first mention makes it.
func (d *decoder) pointer(s *shape, t reflect.Type, p unsafe.Pointer) {
	id := d.uint()
	if id == 0 || d.err != nil {
		return
	}
	if id--; id > uint64(len(d.things)) {
		d.damaged("thing %d", id)
		return
	}
	if id == uint64(len(d.things)) {
		a := arrival{shape: s, t: t}
		if t == nil {
			// Nobody wants it here, but perhaps elsewhere later.
			a.t = d.program(s, 0)
		}
		if a.t != nil {
			a.p = reflect.New(a.t).UnsafePointer()
		}
		d.things = append(d.things, a)
	}
	if t == nil || p == nil {
		return
	}
	a := &d.things[id]
	if a.t == nil && !a.read {
		a.t, a.p = t, reflect.New(t).UnsafePointer()
	}
	if a.t != t || a.shape != s {
		d.fail(fmt.Errorf("the file has a %s, the program a %s", a.name, t))
		return
	}
	*(*unsafe.Pointer)(p) = a.p
}

func (d *decoder) iface(t reflect.Type, p unsafe.Pointer) {
	if b := d.byte(); b != 1 {
		if b != 0 {
			d.damaged("an interface begins with %d", b)
		}
		return
	}
	s := d.typ()
	if d.err != nil {
		return
	}
	holds := d.program(s, 0)
	if t == nil || p == nil {
		d.deeper(func() { d.plan(s, holds).read(d, nil) })
		return
	}
	if holds == nil || !holds.AssignableTo(t) {
		d.fail(fmt.Errorf("%s (%v): a type that is not known", s.name, s.kind))
		return
	}
	v := reflect.New(holds)
	if d.deeper(func() { d.plan(s, holds).read(d, v.UnsafePointer()) }); d.err == nil {
		reflect.NewAt(t, p).Elem().Set(v.Elem())
	}
}

func (d *decoder) bytes() []byte {
	switch b := d.byte(); b {
	case 0:
	case 1:
		return append([]byte{}, d.take(d.uint())...)
	default:
		d.damaged("bytes begin with %d", b)
	}
	return nil
}

func (d *decoder) binary(t reflect.Type, p unsafe.Pointer) {
	b := d.bytes()
	if p == nil || d.err != nil {
		return
	}
	if err := reflect.NewAt(t, p).Interface().(encoding.BinaryUnmarshaler).UnmarshalBinary(b); err != nil {
		d.fail(err)
	}
}

// number reads a number of one kind into one of the program's.
func (d *decoder) number(k kind, t reflect.Type, p unsafe.Pointer) {
	if k == kindFloat {
		b := d.take(8)
		if d.err == nil && p != nil {
			reflect.NewAt(t, p).Elem().SetFloat(math.Float64frombits(binary.LittleEndian.Uint64(b)))
		}
		return
	}
	var signed int64
	var unsigned uint64
	ok := true // it is what both say
	if k == kindInt {
		signed = d.int()
		unsigned, ok = uint64(signed), signed >= 0
	} else {
		unsigned = d.uint()
		signed, ok = int64(unsigned), unsigned <= math.MaxInt64
	}
	if p == nil || d.err != nil {
		return
	}
	v := reflect.NewAt(t, p).Elem()
	switch mine := kindOf(t); {
	case mine == kindInt && (k == kindInt || ok) && !v.OverflowInt(signed):
		v.SetInt(signed)
	case mine == kindUint && (k == kindUint || ok) && !v.OverflowUint(unsigned):
		v.SetUint(unsigned)
	default:
		d.fail(fmt.Errorf("%d does not fit into %s", signed, t))
	}
}

// farthest bounds what time.Unix can be given.
const farthest = 1 << 55

func (d *decoder) time() time.Time {
	sec, ns, zone := d.int(), d.uint(), d.byte()
	if ns >= 1e9 || sec > farthest || -sec > farthest {
		d.damaged("time %d.%d", sec, ns)
		return time.Time{}
	}
	t := time.Unix(sec, int64(ns))
	switch zone {
	case 0:
		return t.UTC()
	case 1:
		return t
	case 2:
		offset := d.int()
		if offset < -86400 || offset > 86400 {
			d.damaged("time zone %d", offset)
			return time.Time{}
		}
		return t.In(time.FixedZone("", int(offset)))
	}
	d.damaged("time zone %d", zone)
	return time.Time{}
}
