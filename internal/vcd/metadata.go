package vcd

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Types of metadata values (MetadataTypedValue).
const (
	StringValue   = "MetadataStringValue"
	NumberValue   = "MetadataNumberValue"
	BooleanValue  = "MetadataBooleanValue"
	DateTimeValue = "MetadataDateTimeValue"
)

// Domains of metadata: everyone's, and the system administrators'.
const (
	DomainGeneral = "GENERAL"
	DomainSystem  = "SYSTEM"
)

// A MetadataEntry is one key of an entity's metadata (MetadataEntryType). The
// value is in the lexical form of its type, as the server sent it.
type MetadataEntry struct {
	Domain     string // GENERAL ("" is the same) or SYSTEM
	Visibility string // READWRITE, READONLY, PRIVATE; "" is the domain's usual one
	Key        string
	Type       string // MetadataStringValue ("" is the same), …
	Value      string
}

type metadataElement struct {
	Entries []struct {
		Domain struct {
			Visibility string `xml:"visibility,attr"`
			Name       string `xml:",chardata"`
		}
		Key   string
		Value *string
		Typed *struct {
			Type  string `xml:"type,attr"`
			Value string
		} `xml:"TypedValue"`
	} `xml:"MetadataEntry"`
}

func (m metadataElement) entries() []MetadataEntry {
	var all []MetadataEntry
	for _, e := range m.Entries {
		entry := MetadataEntry{Domain: DomainGeneral, Visibility: e.Domain.Visibility, Key: e.Key, Type: StringValue}
		if d := strings.TrimSpace(e.Domain.Name); d != "" {
			entry.Domain = d
		}
		switch {
		case e.Typed != nil:
			entry.Value = e.Typed.Value
			// xsi:type is a qualified name, whatever the prefix of the day.
			if name := e.Typed.Type[strings.LastIndexByte(e.Typed.Type, ':')+1:]; name != "" {
				entry.Type = name
			}
		case e.Value != nil: // the form before API 5.1
			entry.Value = *e.Value
		}
		all = append(all, entry)
	}
	return all
}

// ParseMetadata reads a Metadata document (MetadataType).
func ParseMetadata(raw []byte) ([]MetadataEntry, error) {
	var doc metadataElement
	if err := parse(raw, "Metadata", &doc); err != nil {
		return nil, err
	}
	return doc.entries(), nil
}

// Metadata returns the metadata of the entity at href, both domains.
func (c *Client) Metadata(ctx context.Context, href string) ([]MetadataEntry, error) {
	doc, err := c.Get(ctx, strings.TrimRight(href, "/")+"/metadata")
	if err != nil {
		return nil, err
	}
	return ParseMetadata(doc.Raw)
}

// SetMetadata merges entries into the metadata of the entity at href and
// waits for it. Keys that are not named stay as they are.
func (c *Client) SetMetadata(ctx context.Context, href string, entries ...MetadataEntry) error {
	if len(entries) == 0 {
		return nil
	}
	body, err := metadataBody(entries)
	if err != nil {
		return fmt.Errorf("encode metadata: %w", err)
	}
	_, err = c.DoTask(ctx, Request{
		Method: http.MethodPost, Href: strings.TrimRight(href, "/") + "/metadata", ContentType: TypeMetadata, Body: body,
	})
	return err
}

// DeleteMetadata removes one key and waits for it; a key that is not there is
// no error.
func (c *Client) DeleteMetadata(ctx context.Context, href, domain, key string) error {
	path := strings.TrimRight(href, "/") + "/metadata/"
	if domain == DomainSystem {
		path += DomainSystem + "/"
	}
	_, err := c.DoTask(ctx, Request{Method: http.MethodDelete, Href: path + url.PathEscape(key)})
	if gone(err) {
		return nil
	}
	return err
}

func metadataBody(entries []MetadataEntry) ([]byte, error) {
	type domain struct {
		Visibility string `xml:"visibility,attr"`
		Name       string `xml:",chardata"`
	}
	type typedValue struct {
		Type  string `xml:"xsi:type,attr"`
		Value string
	}
	type entry struct {
		Domain     domain
		Key        string
		TypedValue typedValue
	}
	body := struct {
		XMLName struct{} `xml:"Metadata"`
		NS      string   `xml:"xmlns,attr"`
		XSI     string   `xml:"xmlns:xsi,attr"`
		Entries []entry  `xml:"MetadataEntry"`
	}{NS: nsVCloud, XSI: nsXSI}
	for _, e := range entries {
		out := entry{
			Domain: domain{e.Visibility, e.Domain}, Key: e.Key, TypedValue: typedValue{e.Type, e.Value},
		}
		if out.Domain.Name == "" {
			out.Domain.Name = DomainGeneral
		}
		switch {
		case out.Domain.Name == DomainGeneral:
			out.Domain.Visibility = "READWRITE" // the only one it has
		case out.Domain.Visibility == "":
			out.Domain.Visibility = "PRIVATE"
		}
		if out.TypedValue.Type == "" {
			out.TypedValue.Type = StringValue
		}
		body.Entries = append(body.Entries, out)
	}
	return encode(body)
}
