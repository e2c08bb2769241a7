package restorepoint

import (
	"bytes"
	"cmp"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// SecretsPath is the document of a point that holds what Secrets cut out.
const SecretsPath = "secrets"

// secretElements are the elements whose text is a password or key.
var secretElements = []string{"AdminPassword", "DomainUserPassword", "Password", "SharedSecret", "EncryptionKey"}

// IsSecret tells whether the text of an element is a password or key.
func IsSecret(local string) bool { return slices.Contains(secretElements, local) }

// Secrets holds the passwords and keys that were cut out of the documents of
// a point: document path, then one text per place, in document order.
type Secrets map[string][]string

// Cut returns the document without its secrets, which it keeps under the
// document's name: the text of elements that are passwords or keys, the values
// of properties that are marked as passwords, and those of the environment of
// a VM that runs, which repeats them without the mark. The elements and
// attributes stay, empty; everything else stays byte for byte.
func (s Secrets) Cut(name string, doc []byte) ([]byte, error) {
	spans, err := secretPlaces(doc)
	if err != nil {
		return nil, err
	}
	out, from := make([]byte, 0, len(doc)), 0
	for _, sp := range spans {
		s[name] = append(s[name], string(doc[sp.inner:sp.innerEnd]))
		out = append(out, doc[from:sp.inner]...)
		from = sp.innerEnd
	}
	return append(out, doc[from:]...), nil
}

// Restore is the inverse of Cut.
func (s Secrets) Restore(name string, doc []byte) ([]byte, error) {
	texts := s[name]
	if len(texts) == 0 {
		return doc, nil
	}
	spans, err := secretPlaces(doc)
	if err == nil && len(spans) != len(texts) {
		// Of a point that was made when elements were all that was cut.
		spans, err = elements(doc, func(e xml.StartElement) bool { return IsSecret(e.Name.Local) })
	}
	if err != nil {
		return nil, err
	}
	if len(spans) != len(texts) {
		return nil, fmt.Errorf("document %s: %d secrets for %d places", name, len(texts), len(spans))
	}
	out, from := make([]byte, 0, len(doc)), 0
	for i, sp := range spans {
		out = append(out, doc[from:sp.inner]...)
		out = append(out, texts[i]...)
		from = sp.innerEnd
	}
	return append(out, doc[from:]...), nil
}

// secretPlaces finds what Cut cuts, in document order.
func secretPlaces(doc []byte) ([]span, error) {
	spans, err := elements(doc, func(e xml.StartElement) bool { return IsSecret(e.Name.Local) })
	if err != nil {
		return nil, err
	}
	values, err := secretValues(doc)
	if err != nil {
		return nil, err
	}
	for _, v := range values {
		within := func(sp span) bool { return v.inner >= sp.start && v.innerEnd <= sp.end }
		if !slices.ContainsFunc(spans, within) { // else it goes with its element
			spans = append(spans, v)
		}
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.inner, b.inner) })
	return spans, nil
}

// secretValues finds the values of ovf:Property elements with ovf:password
// (DSP0243, 9.5.1), those of their Value elements, and those of properties in
// an environment (DSP8027). The spans are the values, without their quotes.
func secretValues(doc []byte) ([]span, error) {
	d := xml.NewDecoder(bytes.NewReader(doc))
	var out []span
	secret := 0 // how many of the open elements make what is in them secret
	var open []bool
	for {
		before := int(d.InputOffset())
		token, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		switch t := token.(type) {
		case xml.StartElement:
			hides := t.Name.Local == "Environment" || t.Name.Local == "Property" && isPassword(t.Attr)
			if hides {
				secret++
			}
			open = append(open, hides)
			if secret > 0 && (t.Name.Local == "Property" || t.Name.Local == "Value") {
				out = append(out, attributeSpans(doc, before, int(d.InputOffset()), "value")...)
			}
		case xml.EndElement:
			if n := len(open); n > 0 {
				if open[n-1] {
					secret--
				}
				open = open[:n-1]
			}
		}
	}
}

func isPassword(attrs []xml.Attr) bool {
	return slices.ContainsFunc(attrs, func(a xml.Attr) bool {
		return a.Name.Local == "password" && (a.Value == "true" || a.Value == "1")
	})
}

// attributeSpans finds the values of an attribute in a start tag that the
// decoder has accepted.
func attributeSpans(doc []byte, from, to int, local string) []span {
	var out []span
	for i := from; i < to; {
		equals := bytes.IndexByte(doc[i:to], '=')
		if equals < 0 {
			return out
		}
		equals += i
		quote := bytes.IndexAny(doc[equals:to], `"'`)
		if quote < 0 {
			return out
		}
		quote += equals
		end := bytes.IndexByte(doc[quote+1:to], doc[quote])
		if end < 0 {
			return out
		}
		end += quote + 1
		fields := bytes.Fields(doc[i:equals])
		if len(fields) > 0 {
			name := string(fields[len(fields)-1])
			if name[strings.LastIndexByte(name, ':')+1:] == local {
				out = append(out, span{start: quote, inner: quote + 1, innerEnd: end, end: end + 1})
			}
		}
		i = end + 1
	}
	return out
}

// Encode writes the secrets as a document.
func (s Secrets) Encode() ([]byte, error) { return json.Marshal(s) }

// DecodeSecrets reads what Encode wrote. No document means no secrets.
func DecodeSecrets(doc []byte) (Secrets, error) {
	if len(doc) == 0 {
		return Secrets{}, nil
	}
	s := Secrets{}
	if err := json.Unmarshal(doc, &s); err != nil {
		return nil, fmt.Errorf("document %s: %w", SecretsPath, err)
	}
	return s, nil
}

// WithoutMetadata returns a Metadata document without the entries whose key
// starts with prefix; everything else stays byte for byte.
func WithoutMetadata(doc []byte, prefix string) ([]byte, error) {
	spans, err := elements(doc, func(e xml.StartElement) bool { return e.Name.Local == "MetadataEntry" })
	if err != nil {
		return nil, err
	}
	out, from := make([]byte, 0, len(doc)), 0
	for _, sp := range spans {
		var entry struct {
			Key string
		}
		if err := xml.Unmarshal(declared(doc, sp), &entry); err != nil {
			return nil, fmt.Errorf("metadata entry: %w", err)
		}
		if strings.HasPrefix(entry.Key, prefix) {
			out = append(out, doc[from:sp.start]...)
			from = sp.end
		}
	}
	return append(out, doc[from:]...), nil
}

// declared returns an element as a document of its own. Go's decoder takes
// undeclared prefixes as they are, so nothing needs to be added.
func declared(doc []byte, sp span) []byte { return doc[sp.start:sp.end] }

// A span is an element in a document: offsets of its first byte, of its
// content, of the end of its content and behind its last byte.
type span struct{ start, inner, innerEnd, end int }

// elements finds the outermost elements that match and that have an end tag
// or are empty.
func elements(doc []byte, match func(xml.StartElement) bool) ([]span, error) {
	d := xml.NewDecoder(bytes.NewReader(doc))
	var spans []span
	var open []xml.Name
	at := -1
	var cur span
	for {
		before := int(d.InputOffset())
		token, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			if len(open) > 0 {
				return nil, fmt.Errorf("element %s is not closed", open[len(open)-1].Local)
			}
			return spans, nil
		}
		if err != nil {
			return nil, err
		}
		switch t := token.(type) {
		case xml.StartElement:
			if at < 0 && match(t) {
				at, cur = len(open), span{start: before, inner: int(d.InputOffset())}
			}
			open = append(open, t.Name)
		case xml.EndElement:
			// RawToken does not match the tags, and hands them out with
			// the prefixes that the text has.
			if len(open) == 0 || open[len(open)-1] != t.Name {
				return nil, fmt.Errorf("element %s is closed but not open", t.Name.Local)
			}
			open = open[:len(open)-1]
			if len(open) == at {
				cur.innerEnd, cur.end = before, int(d.InputOffset())
				if cur.inner == cur.end { // <empty/> has no room for a text
					cur.innerEnd = cur.inner
				}
				spans = append(spans, cur)
				at = -1
			}
		}
	}
}
