package restorepoint

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// SecretsPath is the document of a point that holds what Secrets cut out.
const SecretsPath = "secrets"

// secretElements are the elements whose text is a password or key.
var secretElements = []string{
	"AdminPassword", "DomainUserPassword", "DomainPassword", "DefaultPassword", "Password", "SharedSecret", "EncryptionKey",
	"AmqpPassword", "VcTruststorePassword", "ClientSecret", "SamlSPKeyAndCertificateChain",
}

// IsSecret tells whether the text of an element is a password or key.
func IsSecret(local string) bool { return slices.Contains(secretElements, local) }

// Secrets holds the passwords and keys that were cut out of the documents of
// a point: document path, then one text per element, in document order. What
// is no text of an element of its own (an attribute, a line of a .vmx, a
// string of JSON) is under the path with placesSuffix, as OFFSET:TEXT: where
// in the cut document it belongs.
type Secrets map[string][]string

const placesSuffix = "#places"

// CutAll cuts the secrets out of the documents of a point, which it replaces.
func CutAll(docs map[string][]byte) (Secrets, error) {
	keys := map[string]bool{}
	for name, doc := range docs {
		if strings.HasPrefix(name, "vcd/") && strings.HasSuffix(name, ".xml") {
			if err := learn(doc, keys); err != nil {
				return nil, fmt.Errorf("document %s: %w", name, err)
			}
		}
	}
	s := Secrets{}
	for name, doc := range docs {
		cut, err := s.cutPlaces(name, doc, keys)
		if err == nil && strings.HasSuffix(name, ".xml") {
			cut, err = s.Cut(name, cut)
		}
		if err != nil {
			return nil, fmt.Errorf("document %s: %w", name, err)
		}
		docs[name] = cut
	}
	return s, nil
}

// cutPlaces returns the document without secrets that are no text of an
// element.
func (s Secrets) cutPlaces(name string, doc []byte, keys map[string]bool) ([]byte, error) {
	found, err := places(name, doc, keys)
	if err != nil || len(found) == 0 {
		return doc, err
	}
	slices.SortFunc(found, func(a, b place) int { return a.from - b.from })
	out, from := make([]byte, 0, len(doc)), 0
	for _, p := range found {
		if p.from < from {
			continue // within the one before
		}
		out = append(out, doc[from:p.from]...)
		s[name+placesSuffix] = append(s[name+placesSuffix], strconv.Itoa(len(out))+":"+string(doc[p.from:p.to]))
		from = p.to
	}
	return append(out, doc[from:]...), nil
}

// RestoreAll is the inverse of CutAll.
func (s Secrets) RestoreAll(docs map[string][]byte) error {
	for name := range s {
		path := strings.TrimSuffix(name, placesSuffix)
		doc, ok := docs[path]
		if !ok || path != name && s[path] != nil {
			continue // not among them, or done with the elements'
		}
		doc, err := s.Restore(path, doc)
		if err == nil {
			doc, err = s.restorePlaces(path, doc)
		}
		if err != nil {
			return err
		}
		docs[path] = doc
	}
	return nil
}

func (s Secrets) restorePlaces(name string, doc []byte) ([]byte, error) {
	texts := s[name+placesSuffix]
	if len(texts) == 0 {
		return doc, nil
	}
	out, from := make([]byte, 0, len(doc)), 0
	for _, t := range texts {
		offset, text, ok := strings.Cut(t, ":")
		at, err := strconv.Atoi(offset)
		if !ok || err != nil || at < from || at > len(doc) {
			return nil, fmt.Errorf("document %s: a secret has no place in it", name)
		}
		out = append(append(out, doc[from:at]...), text...)
		from = at
	}
	return append(out, doc[from:]...), nil
}

// Cut returns the document without the text of its secret elements, which it
// keeps under the document's name. The elements themselves stay, empty;
// everything else stays byte for byte.
func (s Secrets) Cut(name string, doc []byte) ([]byte, error) {
	spans, err := elements(doc, func(e xml.StartElement) bool { return IsSecret(e.Name.Local) })
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
	spans, err := elements(doc, func(e xml.StartElement) bool { return IsSecret(e.Name.Local) })
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
