// Package wellformed refuses XML that a server must not take apart: what is not
// well-formed, what brings a document type, and what is made to use up memory
// or time.
package wellformed

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

// No document of VMware's APIs comes near these. Java's own parser has the limit
// of attributes (jdk.xml.elementAttributeLimit, 200 since JDK 24).
const (
	maxDepth      = 500
	maxAttributes = 200
)

// errType is the answer to a DOCTYPE: as JAXB with secure processing, whatever
// is in it.
var errType = errors.New("DOCTYPE is disallowed")

// An element is one that is open.
type element struct {
	name     xml.Name // with the prefix, not the namespace
	prefixes map[string]string
}

type checker struct {
	open []element
	root bool // was there
}

// Check tells what is wrong with a document, and is nil where it may be read.
func Check(doc []byte) error {
	d := xml.NewDecoder(bytes.NewReader(bytes.TrimPrefix(doc, []byte("\xef\xbb\xbf"))))
	d.CharsetReader, d.Entity = Charset, nil
	var c checker
	for {
		t, err := d.RawToken()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = c.token(t)
		}
		if err != nil {
			return err
		}
	}
	if !c.root || len(c.open) > 0 {
		return errors.New("the document ends too early")
	}
	return nil
}

func (c *checker) token(t xml.Token) error {
	switch t := t.(type) {
	case xml.Directive:
		return errType
	case xml.CharData:
		if len(c.open) == 0 && len(bytes.TrimSpace(t)) > 0 {
			return errors.New("there is text outside the root element")
		}
	case xml.StartElement:
		return c.start(t)
	case xml.EndElement:
		n := len(c.open)
		if n == 0 || c.open[n-1].name != t.Name {
			return fmt.Errorf("the element %s ends without having begun", t.Name.Local)
		}
		c.open = c.open[:n-1]
	}
	return nil
}

func (c *checker) start(t xml.StartElement) error {
	switch {
	case len(c.open) == 0 && c.root:
		return errors.New("there is more than one root element")
	case len(c.open) == maxDepth:
		return fmt.Errorf("elements are nested deeper than %d", maxDepth)
	case len(t.Attr) > maxAttributes:
		return fmt.Errorf("the element %s has more than %d attributes", t.Name.Local, maxAttributes)
	}
	c.root = true
	e := element{name: t.Name}
	for _, a := range t.Attr {
		if a.Name.Space == "xmlns" {
			if e.prefixes == nil {
				e.prefixes = map[string]string{}
			}
			e.prefixes[a.Name.Local] = a.Value
		}
	}
	c.open = append(c.open, e)
	if _, err := c.namespace(t.Name.Space); err != nil {
		return err
	}
	seen, plain := map[xml.Name]bool{}, map[xml.Name]bool{}
	for _, a := range t.Attr {
		ns, err := c.namespace(a.Name.Space)
		if err != nil {
			return err
		}
		name := xml.Name{Space: ns, Local: a.Name.Local}
		if seen[name] || plain[a.Name] {
			return fmt.Errorf("the attribute %s is there twice", a.Name.Local)
		}
		seen[name], plain[a.Name] = true, true
	}
	return nil
}

// namespace is what a prefix stands for.
func (c *checker) namespace(prefix string) (string, error) {
	if prefix == "" || prefix == "xml" || prefix == "xmlns" {
		return prefix, nil
	}
	for i := len(c.open) - 1; i >= 0; i-- {
		if ns := c.open[i].prefixes[prefix]; ns != "" {
			return ns, nil
		}
	}
	return "", fmt.Errorf("the prefix %s is not bound", prefix)
}

// Charset reads what a document's declaration may name beside UTF-8.
func Charset(label string, in io.Reader) (io.Reader, error) {
	switch strings.ToLower(label) {
	case "utf-8", "utf8", "us-ascii", "ascii":
		return in, nil
	case "iso-8859-1", "latin1":
		return &latin{in: in}, nil
	}
	return nil, fmt.Errorf("the encoding %s is not supported", label)
}

// A latin makes UTF-8 of ISO 8859-1.
type latin struct {
	in   io.Reader
	rest []byte
}

func (l *latin) Read(p []byte) (int, error) {
	if len(l.rest) == 0 {
		raw := make([]byte, max(len(p)/2, 1))
		n, err := l.in.Read(raw)
		for _, b := range raw[:n] {
			l.rest = append(l.rest, string(rune(b))...)
		}
		if n == 0 {
			return 0, err
		}
	}
	n := copy(p, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}
