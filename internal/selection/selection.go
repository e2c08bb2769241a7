// Package selection says which vApps and which restore points are meant.
//
// A Selector is ORG/VDC/VAPP or ORG/VDC/VAPP/VM, where * stands for any run
// of characters within a name; or urn:…, an object by its id; or a vApp's
// bare name, which must then be the only one of that name. Names may hold
// any character: / @ * and % are written %2F %40 %2A and %25 inside one.
//
// Parsing a formatted selector yields the same selector, and a selector made
// by Format matches that item alone.
package selection

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrNoMatch says that a selector or a reference matches nothing.
var ErrNoMatch = errors.New("nothing matches")

// An Ambiguous error says that a reference that must mean one thing could
// mean several.
type Ambiguous struct {
	Selector   string
	Candidates []string // selectors that each mean one of them
}

func (e *Ambiguous) Error() string {
	return fmt.Sprintf("%s: could be any of %s", e.Selector, strings.Join(e.Candidates, ", "))
}

// An Item is something to select from: a vApp, or with VM set one of its
// VMs. URN is the id of whichever it is.
type Item struct {
	Org, VDC, VApp, VM string
	URN                string
}

// String returns the selector that names the item.
func (it Item) String() string { return Format(it.Org, it.VDC, it.VApp, it.VM) }

// Format returns the selector of a vApp, or of a VM where vm is not empty.
func Format(org, vdc, vapp, vm string) string {
	s := Escape(org) + "/" + Escape(vdc) + "/" + Escape(vapp)
	if vm != "" {
		s += "/" + Escape(vm)
	}
	return s
}

// Escape returns a name as it is written inside a selector. Besides / @ *
// and % it encodes control characters, which a terminal would act upon.
func Escape(name string) string {
	var b strings.Builder
	for i := range len(name) {
		switch c := name[i]; {
		case c < 0x20 || c == 0x7f || strings.IndexByte("/@*%", c) >= 0:
			fmt.Fprintf(&b, "%%%02X", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// unescape is the inverse of Escape.
func unescape(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", fmt.Errorf("%q: want two hex digits behind %%, or %%25 for the sign itself", s)
		}
		hi, lo := unhex(s[i+1]), unhex(s[i+2])
		if hi < 0 || lo < 0 {
			return "", fmt.Errorf("%q: want two hex digits behind %%, or %%25 for the sign itself", s)
		}
		b.WriteByte(byte(hi<<4 | lo))
		i += 2
	}
	return b.String(), nil
}

func unhex(c byte) int { return strings.IndexByte("0123456789abcdef", lower(c)) }

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// A Selector picks vApps or VMs. Selectors that mean the same are equal.
type Selector struct {
	// Patterns, escaped, with * unescaped where it is a glob. A bare name
	// has a vApp only, a vApp's selector no VM.
	org, vdc, vapp, vm string
	urn                string
}

// Parse reads a selector.
func Parse(s string) (Selector, error) {
	sel, err := parse(s)
	if err != nil {
		return Selector{}, fmt.Errorf("selector %q: %w", s, err)
	}
	return sel, nil
}

func parse(s string) (Selector, error) {
	if isURN(s) {
		if len(s) == len("urn:") || strings.ContainsAny(s, "*%@") {
			return Selector{}, errors.New("not a URN")
		}
		return Selector{urn: strings.ToLower(s)}, nil
	}
	if strings.Contains(s, "@") {
		return Selector{}, errors.New("a selector holds no @; inside a name it is written %40")
	}
	parts := strings.Split(s, "/")
	for i := range parts {
		p, err := canonical(parts[i])
		if err != nil {
			return Selector{}, err
		}
		parts[i] = p
	}
	switch len(parts) {
	case 1:
		if strings.Contains(parts[0], "*") {
			return Selector{}, fmt.Errorf("a bare name takes no *; write */*/%s", s)
		}
		return Selector{vapp: parts[0]}, nil
	case 3:
		return Selector{org: parts[0], vdc: parts[1], vapp: parts[2]}, nil
	case 4:
		return Selector{org: parts[0], vdc: parts[1], vapp: parts[2], vm: parts[3]}, nil
	}
	return Selector{}, errors.New("want ORG/VDC/VAPP, ORG/VDC/VAPP/VM, urn:… or the name of a vApp")
}

func isURN(s string) bool {
	return len(s) >= 4 && strings.EqualFold(s[:4], "urn:") && !strings.Contains(s, "/")
}

// canonical writes a pattern the one way that Escape writes names, with runs
// of * made one.
func canonical(pattern string) (string, error) {
	if pattern == "" {
		return "", errors.New("a name is empty")
	}
	literals := strings.Split(pattern, "*")
	for i, lit := range literals {
		name, err := unescape(lit)
		if err != nil {
			return "", err
		}
		literals[i] = Escape(name)
	}
	joined := strings.Join(literals, "*")
	for strings.Contains(joined, "**") {
		joined = strings.ReplaceAll(joined, "**", "*")
	}
	return joined, nil
}

// String returns the selector as it is written; Parse reads it back.
func (s Selector) String() string {
	switch {
	case s.urn != "":
		return s.urn
	case s.org == "":
		if isURN(s.vapp) {
			return strings.Replace(s.vapp, ":", "%3A", 1)
		}
		return s.vapp
	case s.vm == "":
		return s.org + "/" + s.vdc + "/" + s.vapp
	default:
		return s.org + "/" + s.vdc + "/" + s.vapp + "/" + s.vm
	}
}

// Bare reports whether s is a vApp's name alone, which must be unique.
func (s Selector) Bare() bool { return s.urn == "" && s.org == "" && s.vapp != "" }

// NamesVM reports whether s is ORG/VDC/VAPP/VM, so that it never matches a
// vApp as a whole.
func (s Selector) NamesVM() bool { return s.vm != "" }

// NamesOrg reports whether s picks in one organization alone, by its name.
func (s Selector) NamesOrg() bool { return s.org != "" && !strings.Contains(s.org, "*") }

// MayBeIn reports whether s can pick something of that organization, "" for
// one whose name is not known.
func (s Selector) MayBeIn(org string) bool { return s.org == "" || org == "" || match(s.org, org) }

// MayNameVM reports whether s can pick a VM without its vApp.
func (s Selector) MayNameVM() bool { return s.vm != "" || strings.HasPrefix(s.urn, "urn:vcloud:vm:") }

// Matches reports whether s picks the item. A vApp's selector picks its VMs
// too, a VM's selector that VM only; a URN picks the item with that id.
func (s Selector) Matches(it Item) bool {
	switch {
	case s.urn != "":
		return strings.EqualFold(s.urn, it.URN)
	case s.Bare():
		return match(s.vapp, it.VApp)
	case s.vapp == "":
		return false // the zero Selector
	}
	return match(s.org, it.Org) && match(s.vdc, it.VDC) && match(s.vapp, it.VApp) &&
		(s.vm == "" || it.VM != "" && match(s.vm, it.VM))
}

// match reports whether the name fits the canonical pattern. Taking every
// literal at its first possible place is enough when * is the only glob.
func match(pattern, name string) bool {
	literals := strings.Split(pattern, "*")
	for i := range literals {
		literals[i], _ = unescape(literals[i]) // canonical patterns are well-formed
	}
	first, last := literals[0], literals[len(literals)-1]
	if len(literals) == 1 {
		return name == first
	}
	if len(name) < len(first)+len(last) || !strings.HasPrefix(name, first) || !strings.HasSuffix(name, last) {
		return false
	}
	name = name[len(first) : len(name)-len(last)]
	for _, lit := range literals[1 : len(literals)-1] {
		i := strings.Index(name, lit)
		if i < 0 {
			return false
		}
		name = name[i+len(lit):]
	}
	return true
}

// Pick returns the items that the selectors pick, each once and in the order
// of items. A selector that picks nothing is an ErrNoMatch, a bare name that
// several vApps have an *Ambiguous. No selector picks nothing.
func Pick(items []Item, sels []Selector) ([]Item, error) {
	picked := make([]bool, len(items))
	for _, sel := range sels {
		found := false
		for i, it := range items {
			if sel.Matches(it) {
				picked[i], found = true, true
			}
		}
		if !found {
			return nil, fmt.Errorf("selector %s: %w", sel, ErrNoMatch)
		}
		if err := unique(sel, items); err != nil {
			return nil, err
		}
	}
	var out []Item
	for i, it := range items {
		if picked[i] {
			out = append(out, it)
		}
	}
	return out, nil
}

// Drop returns the items that none of the selectors matches.
func Drop(items []Item, sels []Selector) []Item {
	var out []Item
next:
	for _, it := range items {
		for _, sel := range sels {
			if sel.Matches(it) {
				continue next
			}
		}
		out = append(out, it)
	}
	return out
}

// unique refuses a bare name that vApps in different places have. Those of
// one place are one vApp and its forerunners, rebuilt under the same name.
func unique(sel Selector, items []Item) error {
	if !sel.Bare() {
		return nil
	}
	var candidates []string
	for _, it := range items {
		path := Format(it.Org, it.VDC, it.VApp, "")
		if sel.Matches(it) && !slices.Contains(candidates, path) {
			candidates = append(candidates, path)
		}
	}
	if len(candidates) < 2 {
		return nil
	}
	return &Ambiguous{Selector: sel.String(), Candidates: candidates}
}
