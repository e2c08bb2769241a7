package vcd

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// pageSize is the largest page the query service serves.
const pageSize = 128

// A Record is one result of the query service (QueryResultRecordType).
type Record struct {
	Type     string // element name, AdminVAppRecord
	Href     string
	Attrs    map[string]string // by local name
	Metadata []MetadataEntry   // where the server adds it
}

// bool and int read an attribute; what is missing or odd is the zero value.
func (r Record) bool(name string) bool { return r.Attrs[name] == "true" }

func (r Record) int(name string) int64 {
	n, err := strconv.ParseInt(r.Attrs[name], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// id is the record's URN; records come with an href instead.
func (r Record) id() string {
	if id := r.Attrs["id"]; strings.HasPrefix(id, "urn:") {
		return id
	}
	return URN(r.Href)
}

// key tells records apart.
func (r Record) key() string {
	if r.Href != "" {
		return r.Href
	}
	return fmt.Sprint(r.Type, r.Attrs) // maps print in order
}

// filterEscaper knows the characters that the filter language gives a
// meaning: grouping, AND, OR and the backslash itself.
var filterEscaper = strings.NewReplacer(`\`, `\\`, `(`, `\(`, `)`, `\)`, `,`, `\,`, `;`, `\;`)

// Filter appends a value to a comparison, Filter("name==", value), so that
// nothing in the value is taken for syntax. The one exception is the server's:
// `*` matches any characters and cannot be escaped, and makes the comparison
// ignore case, so whoever means a literal asterisk compares the records as
// well. Conditions are joined with `;` (and) or `,` (or).
func Filter(comparison, value string) string {
	return comparison + filterEscaper.Replace(value)
}

// FilterMetadata is the condition that a GENERAL metadata entry of type
// string has this value.
func FilterMetadata(key, value string) string {
	return "metadata:" + filterEscaper.Replace(key) + "==STRING:" + filterEscaper.Replace(value)
}

// maxPasses bounds how often a query starts over.
const maxPasses = 3

// ErrShort says that the server counts more records than it shows, however
// often it is asked. What it does show was yielded.
var ErrShort = errors.New("the server shows less than it counts")

// Query runs a typed query (type=adminVApp, …) and yields each record once.
// filter is in the filter language, not percent-encoded; "" is all.
//
// Records that vanish while pages are read move later ones onto earlier
// pages, and new ones move others onto later pages. When the total shrinks on
// the way, or is more than what was seen, the query is run again and yields
// what it had missed. The last error is ErrShort where that did not help
// although nothing came or went; where something always does, none.
func (c *Client) Query(ctx context.Context, typ, filter string) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		seen := make(map[string]bool)
		var last pass
		for range maxPasses {
			var more bool
			if last, more = c.pass(ctx, typ, filter, seen, yield); !more {
				return
			}
			if !last.shrank && int64(len(seen)) >= last.total {
				return
			}
		}
		if last.steady && int64(len(seen)) < last.total {
			yield(Record{}, fmt.Errorf("query %s: %w: %d of %d", typ, ErrShort, len(seen), last.total))
		}
	}
}

// pass is what reading all pages once tells about their total.
type pass struct {
	total  int64 // on the last page
	steady bool  // the same on all of them
	shrank bool  // was more on an earlier one
}

// pass reads all pages once; more tells that the consumer still listens.
func (c *Client) pass(ctx context.Context, typ, filter string, seen map[string]bool,
	yield func(Record, error) bool,
) (p pass, more bool) {
	p = pass{total: -1, steady: true}
	here := make(map[string]bool) // what this pass has seen
	for number := 1; ; number++ {
		page, err := c.queryPage(ctx, typ, filter, number)
		if err != nil {
			yield(Record{}, fmt.Errorf("query %s: %w", typ, err))
			return p, false
		}
		p.shrank = p.shrank || page.total < p.total
		p.steady = p.steady && (number == 1 || page.total == p.total)
		p.total = page.total
		fresh := false
		for _, r := range page.records {
			key := r.key()
			fresh = fresh || !here[key]
			here[key] = true
			if seen[key] {
				continue
			}
			seen[key] = true
			if !yield(r, nil) {
				return p, false
			}
		}
		// Neither the total nor a link is trusted alone: servers have been
		// seen to count records that they never show.
		if !fresh || !page.next {
			return p, true
		}
	}
}

type queryPage struct {
	records []Record
	total   int64
	next    bool
}

func (c *Client) queryPage(ctx context.Context, typ, filter string, number int) (*queryPage, error) {
	href := "/api/query?type=" + url.QueryEscape(typ) + "&format=records&pageSize=" + strconv.Itoa(pageSize) +
		"&page=" + strconv.Itoa(number)
	if filter != "" {
		// A space must be %20: the server does not read + as one.
		href += "&filter=" + strings.ReplaceAll(url.QueryEscape(filter), "+", "%20")
	}
	answer, err := c.Do(ctx, Request{Method: http.MethodGet, Href: href})
	if err != nil {
		return nil, err
	}
	return parseQueryPage(answer.Body)
}

func parseQueryPage(raw []byte) (*queryPage, error) {
	d, err := newDecoder(raw)
	if err != nil {
		return nil, err
	}
	root, err := rootElement(d)
	if err != nil {
		return nil, fmt.Errorf("parse QueryResultRecords: %w", err)
	}
	if root.Name.Local != "QueryResultRecords" {
		return nil, fmt.Errorf("parse QueryResultRecords: root element is %.80q", root.Name.Local)
	}
	var page queryPage
	page.total, _ = strconv.ParseInt(attr(root, "total"), 10, 64) // for its change alone
	size, err := strconv.Atoi(attr(root, "pageSize"))
	if err != nil || size <= 0 {
		size = pageSize
	}
	number, _ := strconv.ParseInt(attr(root, "page"), 10, 64)
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("parse QueryResultRecords: %w", err)
		}
		start, ok := tok.(xml.StartElement)
		if !ok {
			continue
		}
		if err := page.add(d, start); err != nil {
			return nil, fmt.Errorf("parse QueryResultRecords: %w", err)
		}
	}
	// A full page below the total may have a successor even without a link.
	if len(page.records) >= size && number*int64(size) < page.total {
		page.next = true
	}
	return &page, nil
}

func (p *queryPage) add(d *xml.Decoder, start xml.StartElement) error {
	switch {
	case start.Name.Local == "Link":
		p.next = p.next || attr(start, "rel") == "nextPage"
		return d.Skip()
	case !strings.HasSuffix(start.Name.Local, "Record"):
		return d.Skip()
	}
	var body struct {
		Metadata metadataElement `xml:"Metadata"`
	}
	if err := d.DecodeElement(&body, &start); err != nil {
		return err
	}
	r := Record{Type: start.Name.Local, Attrs: make(map[string]string, len(start.Attr)), Metadata: body.Metadata.entries()}
	for _, a := range start.Attr {
		if a.Name.Space != "xmlns" && a.Name.Local != "xmlns" {
			r.Attrs[a.Name.Local] = a.Value
		}
	}
	r.Href = r.Attrs["href"]
	p.records = append(p.records, r)
	return nil
}
