package cloud

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// Every key of an inventory is in the manual's table, where users look for it.
func TestTheManualHasEveryKey(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../doc/vcdsim.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(text), "\n## Inventory\n")
	if !found {
		t.Fatal("no section Inventory")
	}
	table, _, _ = strings.Cut(table, "\n## ")
	words := map[string]bool{}
	for _, w := range regexp.MustCompile(`[A-Za-z0-9]+`).FindAllString(table, -1) {
		words[w] = true
	}
	seen := map[reflect.Type]bool{}
	var look func(reflect.Type)
	look = func(typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice || typ.Kind() == reflect.Map {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || seen[typ] {
			return
		}
		seen[typ] = true
		for i := range typ.NumField() {
			f := typ.Field(i)
			key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
			if key != "" && key != "-" && !words[key] {
				t.Errorf("%s.%s: the key %s is not in the table", typ.Name(), f.Name, key)
			}
			if f.IsExported() {
				look(f.Type)
			}
		}
	}
	look(reflect.TypeFor[Inventory]())
	if len(seen) < 20 {
		t.Errorf("looked at %d types only", len(seen))
	}
}
