package graph

import (
	"context"
	"encoding"
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/beevik/etree"
)

// A kind is how a value lies in the file.
type kind byte

const (
	kindBool kind = 1 + iota
	kindInt
	kindUint
	kindFloat
	kindString
	kindBytes
	kindTime
	kindBinary
	kindTree
	kindStruct
	kindPointer
	kindSlice
	kindArray
	kindMap
	kindInterface
	kinds // their number
)

func (k kind) String() string {
	names := [...]string{"nothing", "bool", "int", "uint", "float", "string", "bytes", "time", "binary", "element", "struct", "pointer",
		"slice", "array", "map", "interface"}
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("kind %d", byte(k))
}

var (
	timeType    = reflect.TypeFor[time.Time]()
	treeType    = reflect.TypeFor[etree.Element]()
	contextType = reflect.TypeFor[context.Context]()
	marshaler   = reflect.TypeFor[encoding.BinaryMarshaler]()
	unmarshaler = reflect.TypeFor[encoding.BinaryUnmarshaler]()
)

// kindOf is 0 for what no file can hold.
func kindOf(t reflect.Type) kind {
	switch t {
	case timeType:
		return kindTime
	case treeType:
		return kindTree
	}
	if marshals(t) {
		return kindBinary
	}
	switch t.Kind() {
	case reflect.Bool:
		return kindBool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return kindInt
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return kindUint
	case reflect.Float32, reflect.Float64:
		return kindFloat
	case reflect.String:
		return kindString
	case reflect.Struct:
		return kindStruct
	case reflect.Pointer:
		return kindPointer
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return kindBytes
		}
		return kindSlice
	case reflect.Array:
		return kindArray
	case reflect.Map:
		return kindMap
	case reflect.Interface:
		return kindInterface
	}
	return 0
}

// marshals tells whether a type makes bytes of itself. A struct that has that
// from an embedded one would lose its other fields.
func marshals(t reflect.Type) bool {
	if t.Kind() == reflect.Pointer || t.Kind() == reflect.Interface {
		return false
	}
	p := reflect.PointerTo(t)
	if !p.Implements(marshaler) || !p.Implements(unmarshaler) {
		return false
	}
	if t.Kind() == reflect.Struct {
		for i := range t.NumField() {
			if f := t.Field(i); f.Anonymous && (f.Type.Implements(marshaler) || reflect.PointerTo(f.Type).Implements(marshaler)) {
				return false
			}
		}
	}
	return true
}

// left tells the types that live only as long as the process does.
func left(t reflect.Type) bool {
	if t == contextType || t.PkgPath() == "sync" {
		return true
	}
	switch t.Kind() {
	case reflect.Func, reflect.Chan, reflect.UnsafePointer:
		return true
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return t.Name() == "" && left(t.Elem())
	}
	return false
}

// kept are the fields of a struct that are saved.
func kept(t reflect.Type) []reflect.StructField {
	var out []reflect.StructField
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Name != "_" && f.Tag.Get("graph") != "-" && !left(f.Type) {
			out = append(out, f)
		}
	}
	return out
}

// nameOf is a type's name in the file; empty for one that is made of others.
func nameOf(t reflect.Type) string {
	switch {
	case t.Name() != "" && t.PkgPath() != "":
		return t.PkgPath() + "." + t.Name()
	case t.Name() != "" || t.Kind() == reflect.Struct || t.Kind() == reflect.Interface:
		return t.String()
	}
	return ""
}

// A Codec saves and loads. It may be used from many goroutines.
type Codec struct {
	mu    sync.Mutex
	known map[string]reflect.Type // that interfaces may hold, by nameOf
	seen  map[reflect.Type]bool
	plans map[reflect.Type]*writer
}

// New is a codec for graphs whose interfaces hold values of the examples' types,
// of all types that these and the root are made of, and of Go's own.
func New(examples ...any) *Codec {
	c := &Codec{known: map[string]reflect.Type{}, seen: map[reflect.Type]bool{}, plans: map[reflect.Type]*writer{}}
	for _, t := range []reflect.Type{
		reflect.TypeFor[bool](), reflect.TypeFor[int](), reflect.TypeFor[int32](), reflect.TypeFor[int64](), reflect.TypeFor[uint](),
		reflect.TypeFor[uint64](), reflect.TypeFor[float64](), reflect.TypeFor[string](), reflect.TypeFor[any](),
		timeType, reflect.TypeFor[map[string]any](), reflect.TypeFor[[]any](), reflect.TypeFor[[]byte](), treeType,
	} {
		c.learn(t)
	}
	for _, e := range examples {
		if t := reflect.TypeOf(e); t != nil {
			c.learn(t)
		}
	}
	return c
}

// learn makes a type known, and those that it is made of.
func (c *Codec) learn(t reflect.Type) {
	if c.seen[t] || left(t) {
		return
	}
	c.seen[t] = true
	if name := nameOf(t); name != "" {
		c.known[name] = t
	}
	switch kindOf(t) {
	case kindStruct:
		for _, f := range kept(t) {
			c.learn(f.Type)
		}
	case kindPointer, kindSlice, kindArray:
		c.learn(t.Elem())
	case kindMap:
		c.learn(t.Key())
		c.learn(t.Elem())
	}
}

// A fieldError is an error and where in the graph it is.
type fieldError struct {
	path string
	err  error
}

func (e *fieldError) Error() string {
	if e.path == "" {
		return e.err.Error()
	}
	return e.path + ": " + e.err.Error()
}

func (e *fieldError) Unwrap() error { return e.err }

// short is a type's name for people.
func short(t reflect.Type) string { return t.String() }
