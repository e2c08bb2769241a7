package graph

import (
	"cmp"
	"encoding"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"reflect"
	"slices"
	"strconv"
	"time"
	"unsafe"

	"github.com/beevik/etree"
)

const (
	magic     = "vvgraph1"
	blockSize = 64 << 10
	maxBlock  = 1 << 20
	// maxDepth bounds how deep values lie in each other without a pointer
	// in between, which is followed later.
	maxDepth  = 2000
	structTag = 0x7b
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A writer writes values of one type, which lie at p.
type writer struct {
	write func(e *encoder, p unsafe.Pointer)
}

// A thing is what a pointer points at. Of two that begin at the same address,
// the one is the other's first field.
type thing struct {
	p unsafe.Pointer
	t reflect.Type
}

type encoder struct {
	c      *Codec
	w      io.Writer
	buf    []byte
	types  map[reflect.Type]uint64
	things map[thing]uint64
	queue  []thing
	err    *fieldError
	depth  int
}

// Save writes the graph that hangs from root, a pointer to a struct. Nobody may
// change it meanwhile. The same graph gives the same bytes.
func (c *Codec) Save(w io.Writer, root any) error {
	v := reflect.ValueOf(root)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return fmt.Errorf("graph: save: %T: want a pointer", root)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t := v.Type().Elem()
	c.learn(t)
	e := &encoder{c: c, w: w, buf: make([]byte, 0, 2*blockSize), types: map[reflect.Type]uint64{}, things: map[thing]uint64{}}
	if _, err := io.WriteString(w, magic); err != nil {
		return fmt.Errorf("graph: save: %w", err)
	}
	first := thing{v.UnsafePointer(), t}
	e.things[first] = 0
	e.queue = append(e.queue, first)
	e.typ(t)
	for next := 0; next < len(e.queue) && e.err == nil; next++ {
		o := e.queue[next]
		c.writer(o.t).write(e, o.p)
		if e.err != nil {
			e.under(fmt.Sprintf("%s#%d", short(o.t), next))
		}
	}
	e.flush()
	e.block(nil)
	if e.err != nil {
		return fmt.Errorf("graph: save: %w", e.err)
	}
	return nil
}

func (e *encoder) fail(err error) {
	if e.err == nil {
		e.err = &fieldError{err: err}
	}
}

// under says where the error is that came from below.
func (e *encoder) under(where string) { e.err.path = where + e.err.path }

func (e *encoder) flush() {
	if len(e.buf) > 0 {
		e.block(e.buf)
		e.buf = e.buf[:0]
	}
}

func (e *encoder) block(content []byte) {
	if e.err != nil {
		return
	}
	for {
		part := content[:min(len(content), maxBlock)]
		content = content[len(part):]
		var sum []byte
		if len(part) > 0 {
			sum = binary.LittleEndian.AppendUint32(nil, crc32.Checksum(part, castagnoli))
		}
		for _, b := range [][]byte{binary.AppendUvarint(nil, uint64(len(part))), part, sum} {
			if _, err := e.w.Write(b); err != nil {
				e.fail(err)
				return
			}
		}
		if len(content) == 0 {
			return
		}
	}
}

func (e *encoder) uint(n uint64) {
	e.buf = binary.AppendUvarint(e.buf, n)
	if len(e.buf) >= blockSize {
		e.flush()
	}
}

func (e *encoder) int(n int64) {
	e.buf = binary.AppendVarint(e.buf, n)
	if len(e.buf) >= blockSize {
		e.flush()
	}
}

func (e *encoder) byte(b byte) { e.buf = append(e.buf, b) }

func (e *encoder) string(s string) {
	e.uint(uint64(len(s)))
	e.buf = append(e.buf, s...)
}

// deeper runs what lies one step further inside.
func (e *encoder) deeper(do func()) {
	if e.depth++; e.depth > maxDepth {
		e.fail(fmt.Errorf("deeper than %d", maxDepth))
	} else {
		do()
	}
	e.depth--
}

// typ writes a type's number, and its definition the first time.
func (e *encoder) typ(t reflect.Type) {
	if id, ok := e.types[t]; ok {
		e.uint(id)
		return
	}
	k := kindOf(t)
	if k == 0 {
		e.fail(fmt.Errorf("%s: cannot be saved", t))
		return
	}
	e.uint(uint64(len(e.types)))
	e.types[t] = uint64(len(e.types))
	e.byte(byte(k))
	e.string(nameOf(t))
	switch k {
	case kindPointer, kindSlice:
		e.typ(t.Elem())
	case kindArray:
		e.uint(uint64(t.Len()))
		e.typ(t.Elem())
	case kindMap:
		e.typ(t.Key())
		e.typ(t.Elem())
	case kindStruct:
		fields := kept(t)
		e.uint(uint64(len(fields)))
		for _, f := range fields {
			e.string(f.Name)
			if e.typ(f.Type); e.err != nil {
				e.under("." + f.Name)
				return
			}
		}
	}
}

// writer makes the writer of a type, or finds it.
func (c *Codec) writer(t reflect.Type) *writer {
	if w := c.plans[t]; w != nil {
		return w
	}
	w := &writer{}
	c.plans[t] = w // before it is whole: the type may hold itself
	w.write = c.plan(t)
	return w
}

func (c *Codec) plan(t reflect.Type) func(*encoder, unsafe.Pointer) {
	switch kindOf(t) {
	case kindBool:
		return func(e *encoder, p unsafe.Pointer) {
			if *(*bool)(p) {
				e.byte(1)
			} else {
				e.byte(0)
			}
		}
	case kindInt:
		return func(e *encoder, p unsafe.Pointer) { e.int(readInt(t, p)) }
	case kindUint:
		return func(e *encoder, p unsafe.Pointer) { e.uint(readUint(t, p)) }
	case kindFloat:
		return func(e *encoder, p unsafe.Pointer) {
			e.buf = binary.LittleEndian.AppendUint64(e.buf, math.Float64bits(reflect.NewAt(t, p).Elem().Float()))
		}
	case kindString:
		return func(e *encoder, p unsafe.Pointer) { e.string(*(*string)(p)) }
	case kindBytes:
		return func(e *encoder, p unsafe.Pointer) { e.bytes(*(*[]byte)(p)) }
	case kindTime:
		return func(e *encoder, p unsafe.Pointer) { e.time(*(*time.Time)(p)) }
	case kindBinary:
		return func(e *encoder, p unsafe.Pointer) {
			b, err := reflect.NewAt(t, p).Interface().(encoding.BinaryMarshaler).MarshalBinary()
			if err != nil {
				e.fail(err)
			}
			e.bytes(b)
		}
	case kindTree:
		return func(e *encoder, p unsafe.Pointer) { e.tree((*etree.Element)(p)) }
	case kindStruct:
		return c.planStruct(t)
	case kindPointer:
		elem := t.Elem()
		return func(e *encoder, p unsafe.Pointer) { e.pointer(*(*unsafe.Pointer)(p), elem) }
	case kindSlice, kindArray:
		return c.planList(t)
	case kindMap:
		return c.planMap(t)
	case kindInterface:
		return func(e *encoder, p unsafe.Pointer) { e.iface(reflect.NewAt(t, p).Elem()) }
	}
	return func(e *encoder, _ unsafe.Pointer) { e.fail(fmt.Errorf("%s: cannot be saved", t)) }
}

func (c *Codec) planStruct(t reflect.Type) func(*encoder, unsafe.Pointer) {
	type part struct {
		name   string
		offset uintptr
		*writer
	}
	var parts []part
	for _, f := range kept(t) {
		parts = append(parts, part{f.Name, f.Offset, c.writer(f.Type)})
	}
	return func(e *encoder, p unsafe.Pointer) {
		e.byte(structTag)
		e.deeper(func() {
			for i := range parts {
				if parts[i].write(e, unsafe.Add(p, parts[i].offset)); e.err != nil {
					e.under("." + parts[i].name)
					return
				}
			}
		})
	}
}

func (c *Codec) planList(t reflect.Type) func(*encoder, unsafe.Pointer) {
	w, size := c.writer(t.Elem()), t.Elem().Size()
	elements := func(e *encoder, at unsafe.Pointer, n int) {
		e.deeper(func() {
			for i := range n {
				if w.write(e, unsafe.Add(at, uintptr(i)*size)); e.err != nil {
					e.under("[" + strconv.Itoa(i) + "]")
					return
				}
			}
		})
	}
	if t.Kind() == reflect.Array {
		return func(e *encoder, p unsafe.Pointer) { elements(e, p, t.Len()) }
	}
	return func(e *encoder, p unsafe.Pointer) {
		v := reflect.NewAt(t, p).Elem()
		if v.IsNil() {
			e.uint(0)
			return
		}
		e.uint(uint64(v.Len()) + 1)
		elements(e, v.UnsafePointer(), v.Len())
	}
}

func (c *Codec) planMap(t reflect.Type) func(*encoder, unsafe.Pointer) {
	key, elem := c.writer(t.Key()), c.writer(t.Elem())
	return func(e *encoder, p unsafe.Pointer) {
		v := reflect.NewAt(t, p).Elem()
		if v.IsNil() {
			e.uint(0)
			return
		}
		e.uint(uint64(v.Len()) + 1)
		e.deeper(func() {
			for _, k := range sortedKeys(v) {
				// Copies, since what is in a map has no address.
				at, val := reflect.New(t.Key()), reflect.New(t.Elem())
				at.Elem().Set(k)
				val.Elem().Set(v.MapIndex(k))
				key.write(e, at.UnsafePointer())
				if elem.write(e, val.UnsafePointer()); e.err != nil {
					e.under(fmt.Sprintf("[%v]", k))
					return
				}
			}
		})
	}
}

// sortedKeys are a map's keys in an order that is always the same, but for
// pointers.
func sortedKeys(v reflect.Value) []reflect.Value {
	ks := v.MapKeys()
	switch v.Type().Key().Kind() {
	case reflect.String:
		slices.SortFunc(ks, func(a, b reflect.Value) int { return cmp.Compare(a.String(), b.String()) })
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		slices.SortFunc(ks, func(a, b reflect.Value) int { return cmp.Compare(a.Int(), b.Int()) })
	default:
		slices.SortFunc(ks, func(a, b reflect.Value) int { return cmp.Compare(fmt.Sprintf("%v", a), fmt.Sprintf("%v", b)) })
	}
	return ks
}

func (e *encoder) bytes(b []byte) {
	if b == nil {
		e.byte(0)
		return
	}
	e.byte(1)
	e.uint(uint64(len(b)))
	e.buf = append(e.buf, b...)
}

// pointer writes the number of a thing, and queues it the first time.
func (e *encoder) pointer(p unsafe.Pointer, t reflect.Type) {
	if p == nil {
		e.uint(0)
		return
	}
	o := thing{p, t}
	id, ok := e.things[o]
	if !ok {
		id = uint64(len(e.queue))
		e.things[o] = id
		e.queue = append(e.queue, o)
	}
	e.uint(id + 1)
}

func (e *encoder) iface(v reflect.Value) {
	if v.IsNil() {
		e.byte(0)
		return
	}
	t := v.Elem().Type()
	if !e.c.canMake(t) {
		e.fail(fmt.Errorf("%s: a type that is not known", t))
		return
	}
	e.byte(1)
	e.typ(t)
	val := reflect.New(t)
	val.Elem().Set(v.Elem())
	e.deeper(func() { e.c.writer(t).write(e, val.UnsafePointer()) })
}

// canMake tells whether Load would find that type by what the file says of it.
func (c *Codec) canMake(t reflect.Type) bool {
	if name := nameOf(t); name != "" {
		return c.known[name] == t
	}
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice:
		return c.canMake(t.Elem())
	case reflect.Map:
		return c.canMake(t.Key()) && c.canMake(t.Elem())
	}
	return false
}

func readInt(t reflect.Type, p unsafe.Pointer) int64 {
	switch t.Size() {
	case 1:
		return int64(*(*int8)(p))
	case 2:
		return int64(*(*int16)(p))
	case 4:
		return int64(*(*int32)(p))
	}
	return *(*int64)(p)
}

func readUint(t reflect.Type, p unsafe.Pointer) uint64 {
	switch t.Size() {
	case 1:
		return uint64(*(*uint8)(p))
	case 2:
		return uint64(*(*uint16)(p))
	case 4:
		return uint64(*(*uint32)(p))
	}
	return *(*uint64)(p)
}

// time writes a time. A monotonic reading means nothing to another process.
func (e *encoder) time(t time.Time) {
	e.int(t.Unix())
	e.uint(uint64(t.Nanosecond()))
	switch t.Location() {
	case time.UTC:
		e.byte(0)
	case time.Local:
		e.byte(1)
	default:
		_, offset := t.Zone()
		e.byte(2)
		e.int(int64(offset))
	}
}
