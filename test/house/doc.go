// Package house holds the test of the house's own rules: who may import
// whom, and that every package says what it promises.
package house
