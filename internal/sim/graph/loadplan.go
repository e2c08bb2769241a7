package graph

import (
	"fmt"
	"reflect"
	"strconv"
	"time"
	"unsafe"

	"github.com/beevik/etree"
)

// plan is how a shape is read into a type; t is nil to read over it.
func (d *decoder) plan(s *shape, t reflect.Type) *reader {
	at := pairing{s, t}
	if r := d.plans[at]; r != nil {
		return r
	}
	r := &reader{}
	d.plans[at] = r
	r.read = d.planned(s, t)
	return r
}

func (d *decoder) planned(s *shape, t reflect.Type) func(*decoder, unsafe.Pointer) {
	if t != nil && !fits(s, t) {
		return func(d *decoder, _ unsafe.Pointer) {
			d.fail(fmt.Errorf("the file has %v (%s), the program has %s", s.kind, s.name, t))
		}
	}
	switch s.kind {
	case kindBool:
		return func(d *decoder, p unsafe.Pointer) {
			b := d.byte()
			if b > 1 {
				d.damaged("bool %d", b)
			}
			if p != nil {
				*(*bool)(p) = b == 1
			}
		}
	case kindInt, kindUint, kindFloat:
		return func(d *decoder, p unsafe.Pointer) { d.number(s.kind, t, p) }
	case kindString:
		return func(d *decoder, p unsafe.Pointer) {
			if v := d.string(); p != nil {
				*(*string)(p) = v
			}
		}
	case kindBytes:
		return func(d *decoder, p unsafe.Pointer) {
			if v := d.bytes(); p != nil {
				*(*[]byte)(p) = v
			}
		}
	case kindTime:
		return func(d *decoder, p unsafe.Pointer) {
			if v := d.time(); p != nil {
				*(*time.Time)(p) = v
			}
		}
	case kindBinary:
		return func(d *decoder, p unsafe.Pointer) { d.binary(t, p) }
	case kindTree:
		return func(d *decoder, p unsafe.Pointer) { d.tree((*etree.Element)(p)) }
	case kindStruct:
		return d.planStruct(s, t)
	case kindPointer:
		var elem reflect.Type
		if t != nil {
			elem = t.Elem()
		}
		return func(d *decoder, p unsafe.Pointer) { d.pointer(s.elem, elem, p) }
	case kindSlice:
		return d.planSlice(s, t)
	case kindArray:
		return d.planArray(s, t)
	case kindMap:
		return d.planMap(s, t)
	case kindInterface:
		return func(d *decoder, p unsafe.Pointer) { d.iface(t, p) }
	}
	return func(d *decoder, _ unsafe.Pointer) { d.damaged("%v", s.kind) }
}

// fits tells whether a value of that shape can become one of that type.
func fits(s *shape, t reflect.Type) bool {
	k := kindOf(t)
	switch {
	case k == kindInt || k == kindUint:
		return s.kind == kindInt || s.kind == kindUint
	case k == kindArray:
		return s.kind == k && s.length == uint64(t.Len())
	case k == kindBinary:
		return s.kind == k && s.name == nameOf(t)
	}
	return s.kind == k
}

func (d *decoder) planStruct(s *shape, t reflect.Type) func(*decoder, unsafe.Pointer) {
	type part struct {
		name   string
		offset uintptr
		wanted bool
		*reader
	}
	have := map[string]reflect.StructField{}
	if t != nil {
		for _, f := range kept(t) {
			have[f.Name] = f
		}
	}
	parts := make([]part, len(s.fields))
	for i, f := range s.fields {
		mine, wanted := have[f.name]
		delete(have, f.name) // a damaged file may name one twice
		parts[i] = part{f.name, mine.Offset, wanted, d.plan(f.shape, mine.Type)}
	}
	return func(d *decoder, p unsafe.Pointer) {
		if b := d.byte(); b != structTag {
			d.damaged("a struct begins with %#x", b)
			return
		}
		d.deeper(func() {
			for i := range parts {
				var at unsafe.Pointer
				if parts[i].wanted && p != nil {
					at = unsafe.Add(p, parts[i].offset)
				}
				if parts[i].read(d, at); d.err != nil {
					d.under("." + parts[i].name)
					return
				}
			}
		})
	}
}

func (d *decoder) planSlice(s *shape, t reflect.Type) func(*decoder, unsafe.Pointer) {
	if t == nil {
		elem := d.plan(s.elem, nil)
		return func(d *decoder, _ unsafe.Pointer) {
			if n := d.uint(); n > 0 {
				d.each(n-1, func(uint64) { elem.read(d, nil) })
			}
		}
	}
	elem := d.plan(s.elem, t.Elem())
	return func(d *decoder, p unsafe.Pointer) {
		n := d.uint()
		if p == nil || n == 0 {
			if n > 0 {
				d.each(n-1, func(uint64) { elem.read(d, nil) })
			}
			return
		}
		v := reflect.NewAt(t, p).Elem()
		v.Set(reflect.MakeSlice(t, 0, int(min(n-1, 8))))
		d.each(n-1, func(i uint64) {
			// It grows as elements come, not by what the file promises.
			if int(i) >= v.Cap() {
				v.Grow(1)
			}
			v.SetLen(int(i) + 1)
			at := v.Index(int(i))
			at.SetZero()
			elem.read(d, at.Addr().UnsafePointer())
		})
	}
}

func (d *decoder) planArray(s *shape, t reflect.Type) func(*decoder, unsafe.Pointer) {
	var size uintptr
	var of reflect.Type
	if t != nil {
		of, size = t.Elem(), t.Elem().Size()
	}
	elem := d.plan(s.elem, of)
	return func(d *decoder, p unsafe.Pointer) {
		d.each(s.length, func(i uint64) {
			var at unsafe.Pointer
			if p != nil {
				at = unsafe.Add(p, uintptr(i)*size)
			}
			elem.read(d, at)
		})
	}
}

// each reads elements, of which every one takes a byte at least.
func (d *decoder) each(n uint64, read func(i uint64)) {
	d.deeper(func() {
		for i := uint64(0); i < n && d.err == nil; i++ {
			if read(i); d.err != nil {
				d.under("[" + strconv.FormatUint(i, 10) + "]")
			}
		}
	})
}

func (d *decoder) planMap(s *shape, t reflect.Type) func(*decoder, unsafe.Pointer) {
	if t == nil {
		key, elem := d.plan(s.key, nil), d.plan(s.elem, nil)
		return func(d *decoder, _ unsafe.Pointer) {
			if n := d.uint(); n > 0 {
				d.each(n-1, func(uint64) { key.read(d, nil); elem.read(d, nil) })
			}
		}
	}
	key, elem := d.plan(s.key, t.Key()), d.plan(s.elem, t.Elem())
	return func(d *decoder, p unsafe.Pointer) {
		n := d.uint()
		m := reflect.Zero(t)
		if n > 0 {
			m = reflect.MakeMapWithSize(t, int(min(n-1, 8)))
			d.deeper(func() {
				for i := uint64(1); i < n && d.err == nil; i++ {
					k, v := reflect.New(t.Key()), reflect.New(t.Elem())
					key.read(d, k.UnsafePointer())
					if elem.read(d, v.UnsafePointer()); d.err != nil {
						d.under(fmt.Sprintf("[%v]", k.Elem()))
						return
					}
					if !k.Elem().Comparable() {
						d.damaged("%s: no key", k.Elem().Type())
						return
					}
					m.SetMapIndex(k.Elem(), v.Elem())
				}
			})
		}
		if p != nil {
			reflect.NewAt(t, p).Elem().Set(m)
		}
	}
}
