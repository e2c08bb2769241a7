package director

import (
	"path"
	"regexp"
	"strings"
)

// A filter says whether a record is wanted.
type filter func(c *call, r *record) bool

// A scanner reads a filter expression of the query service: terms
// "name==value" joined by ";" (and) and "," (or), grouped by parentheses. A
// backslash takes the meaning from the character after it.
type scanner struct {
	rest    string
	encoded bool // values are percent-encoded once more
}

// parseFilter reads a whole expression.
func parseFilter(s string, encoded bool) (filter, error) {
	sc := &scanner{s, encoded}
	f, err := sc.expression(0)
	if err == nil && sc.rest != "" {
		err = badRequest("The filter is not understood from %q on.", sc.rest)
	}
	return f, err
}

// expression reads terms until the end or a closing parenthesis. "and" binds
// tighter than "or".
func (s *scanner) expression(depth int) (filter, error) {
	var either []filter
	all, err := s.conjunction(depth)
	if err != nil {
		return nil, err
	}
	either = append(either, all)
	for strings.HasPrefix(s.rest, ",") {
		s.rest = s.rest[1:]
		if all, err = s.conjunction(depth); err != nil {
			return nil, err
		}
		either = append(either, all)
	}
	return func(c *call, r *record) bool {
		for _, f := range either {
			if f(c, r) {
				return true
			}
		}
		return false
	}, nil
}

func (s *scanner) conjunction(depth int) (filter, error) {
	var all []filter
	for {
		t, err := s.term(depth)
		if err != nil {
			return nil, err
		}
		all = append(all, t)
		if !strings.HasPrefix(s.rest, ";") {
			break
		}
		s.rest = s.rest[1:]
	}
	return func(c *call, r *record) bool {
		for _, f := range all {
			if !f(c, r) {
				return false
			}
		}
		return true
	}, nil
}

var operators = []string{"==", "!=", "=gt=", "=ge=", "=lt=", "=le="}

func (s *scanner) term(depth int) (filter, error) {
	if strings.HasPrefix(s.rest, "(") {
		if depth > 20 {
			return nil, badRequest("The filter is nested too deeply.")
		}
		s.rest = s.rest[1:]
		f, err := s.expression(depth + 1)
		if err != nil {
			return nil, err
		}
		if !strings.HasPrefix(s.rest, ")") {
			return nil, badRequest("The filter lacks a closing parenthesis.")
		}
		s.rest = s.rest[1:]
		return f, nil
	}
	at, op := len(s.rest), ""
	for _, o := range operators {
		if i := strings.Index(s.rest, o); i >= 0 && i < at {
			at, op = i, o
		}
	}
	if op == "" || at == 0 || joined(s.rest[:at]) {
		return nil, badRequest("The filter is not understood from %q on.", s.rest)
	}
	name := s.rest[:at]
	s.rest = s.rest[at+len(op):]
	want := s.value()
	if s.encoded {
		want = unescape(want)
	}
	name, want = bare(name), bare(want)
	if domain, key, is := metadataName(name, s.encoded); is {
		typ, v, _ := strings.Cut(want, ":")
		return func(c *call, r *record) bool { return c.metaMatches(r, domain, key, typ, v, op) }, nil
	}
	match := comparison(op, want)
	return func(_ *call, r *record) bool { return r.matches(name, match) }, nil
}

// value reads up to the next joint or parenthesis.
func (s *scanner) value() string {
	literal := false
	for i, ch := range s.rest {
		switch {
		case literal:
			literal = false
		case ch == '\\':
			literal = true
		case strings.ContainsRune(";,()", ch):
			return s.cut(i)
		}
	}
	return s.cut(len(s.rest))
}

// joined tells whether a name holds a joint that no backslash covers.
func joined(name string) bool {
	return strings.ContainsAny(escapes.ReplaceAllString(name, ""), ";,()")
}

var escapes = regexp.MustCompile(`\\.`)

// bare removes the backslashes that were there for the scanner.
func bare(s string) string {
	return escapes.ReplaceAllStringFunc(s, func(e string) string { return e[1:] })
}

func (s *scanner) cut(i int) string {
	v := s.rest[:i]
	s.rest = s.rest[i:]
	return v
}

// metadataName reads "metadata:key" and "metadata@SYSTEM:key".
func metadataName(name string, encoded bool) (domain, key string, is bool) {
	rest, is := strings.CutPrefix(name, "metadata")
	if !is {
		return "", "", false
	}
	domain, key, is = strings.Cut(rest, ":")
	if encoded {
		key = unescape(key)
	}
	domain = strings.TrimPrefix(domain, "@")
	return or(domain, "GENERAL"), key, is
}

func (c *call) metaMatches(r *record, domain, key, typ, want, op string) bool {
	i := r.meta.find(domain, key)
	if i < 0 || !c.visible(r.meta[i]) {
		return false
	}
	e := r.meta[i]
	return strings.EqualFold(typ, e.typ) && compare(e.value, op, want)
}

// matches compares an attribute of the record. One that the record does not
// have is the empty string.
func (r *record) matches(name string, match func(have string) bool) bool {
	have, found := r.get(name)
	if name == "id" && !found {
		have, _ = r.get("href")
	}
	return match(have)
}

func compare(have, op, want string) bool { return comparison(op, want)(have) }

// comparison works out once what does not depend on the record: there are tens
// of thousands of them.
func comparison(op, want string) func(have string) bool {
	key := sortKeyOf(want)
	switch op {
	case "==":
		return sameAs(want)
	case "!=":
		same := sameAs(want)
		return func(have string) bool { return !same(have) }
	case "=gt=":
		return func(have string) bool { return key.before(sortKeyOf(have)) }
	case "=ge=":
		return func(have string) bool { return !sortKeyOf(have).before(key) }
	case "=lt=":
		return func(have string) bool { return sortKeyOf(have).before(key) }
	}
	return func(have string) bool { return !key.before(sortKeyOf(have)) }
}

// sameAs compares as the query service does: references by the id in them,
// texts as they are, but without regard to case once * stands for anything in
// them (API Programming Guide, query filter expressions).
func sameAs(want string) func(have string) bool {
	if id := uuidIn(want); id != "" && (id == strings.ToLower(want) || strings.Contains(want, "/") || strings.HasPrefix(want, "urn:")) {
		return func(have string) bool { return uuidIn(have) == id }
	}
	if strings.Contains(want, "*") {
		pattern := strings.NewReplacer(`\`, `\\`, "[", `\[`, "?", `\?`, "/", "\x00").Replace(strings.ToLower(want))
		return func(have string) bool {
			matched, err := path.Match(pattern, strings.ReplaceAll(strings.ToLower(have), "/", "\x00"))
			return err == nil && matched
		}
	}
	return func(have string) bool { return have == want }
}
