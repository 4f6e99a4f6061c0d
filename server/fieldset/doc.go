// Package fieldset says which fields of a new object its creator owns, in the encoding of managed fields (FieldsV1 of KEP-555).
//
// The library behind managed fields compares the object with an empty one, builds a set of paths from the difference, takes from it what
// nobody can own and encodes the rest. That is a sixth of a write's processor time, and for a creation nearly all of it can be known
// beforehand from the Go type and its schema. For makes a Plan of them once for a kind; Plan.Created walks an object by it and writes the
// encoding at once, byte for byte what the library would have written. What is rare or would need the library's subtleties (a list with
// two items of the same key, a key with a default, a name that needs escaping, a type that is not what its schema says) is not guessed:
// Created says that it does not know, and the caller asks the library.
//
// Objects of custom resources are maps with a structural schema, for which CreatedDocument needs no plan.
//
// The package must not know: requests, storage, which kinds there are.
package fieldset
