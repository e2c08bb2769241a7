package cloud

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // for default.yaml
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

//go:embed default.yaml
var defaultYAML []byte

// DefaultYAML is the inventory that vcdsim serves when it is given none.
func DefaultYAML() []byte { return bytes.Clone(defaultYAML) }

// Default is the inventory of DefaultYAML.
func Default() *Inventory {
	inventory, err := Parse(defaultYAML)
	if err != nil {
		panic(fmt.Sprintf("cloud: the embedded inventory: %v", err)) // its test keeps it valid
	}
	return inventory
}

// Load reads an inventory file. Images that it names are relative to it.
func Load(path string) (*Inventory, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("inventory: %w", err)
	}
	inventory, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("inventory %s: %w", path, err)
	}
	relative := func(from *string) {
		if *from != "" && !filepath.IsAbs(*from) {
			*from = filepath.Join(filepath.Dir(path), *from)
		}
	}
	inventory.eachVM(func(_ place, vm *VM) {
		for i := range vm.Disks {
			relative(&vm.Disks[i].From)
		}
	})
	for _, site := range inventory.Sites {
		for _, org := range site.Orgs {
			for _, catalog := range org.Catalogs {
				for i := range catalog.Media {
					relative(&catalog.Media[i].From)
				}
			}
		}
	}
	if problems := inventory.images(); len(problems) > 0 {
		return nil, fmt.Errorf("inventory %s: %w", path, errors.Join(problems...))
	}
	return inventory, nil
}

// Parse reads an inventory and checks it. It refuses unknown keys, values
// that are none, and names that lead nowhere, all of them in one error.
func Parse(text []byte) (*Inventory, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	var inventory Inventory
	if err := decoder.Decode(&inventory); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("empty")
		}
		return nil, readable(err)
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one YAML document")
	}
	var whole yaml.Node
	if err := yaml.Unmarshal(text, &whole); err != nil {
		return nil, err
	}
	if empty := nulls("", &whole); len(empty) > 0 {
		return nil, errors.New(strings.Join(empty, "\n"))
	}
	if err := inventory.complete(); err != nil {
		return nil, err
	}
	inventory.source = sha256.Sum256(text)
	return &inventory, nil
}

var unknownKey = regexp.MustCompile(`^(line \d+: )field (\S+) not found in type \S+$`)

// readable says "unknown key" where the YAML package speaks of Go types.
func readable(err error) error {
	var typeError *yaml.TypeError
	if !errors.As(err, &typeError) {
		return err
	}
	lines := make([]string, len(typeError.Errors))
	for i, line := range typeError.Errors {
		lines[i] = unknownKey.ReplaceAllString(line, `${1}unknown key "$2"`)
	}
	return errors.New(strings.Join(lines, "; "))
}
