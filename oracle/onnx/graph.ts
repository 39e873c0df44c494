/**
 * Models of one operator (or of a few, where one is not enough) for ONNX Runtime, as plain records, and their bytes.
 * Ranks and sizes of inputs are left open, so one model serves every shape.
 */

export type ElementType = 'float32' | 'float64' | 'int64' | 'bool';

/** Numbers of ONNX's TensorProto.DataType. */
const DATA_TYPE: Record<ElementType, number> = { float32: 1, int64: 7, bool: 9, float64: 11 };
/** Numbers of ONNX's AttributeProto.AttributeType. */
const ATTRIBUTE_TYPE = { float: 1, int: 2, graph: 5, ints: 7 };

export type Attribute =
  | { readonly float: number }
  | { readonly int: number }
  | { readonly ints: readonly number[] }
  | { readonly graph: Graph };

export interface Node {
  readonly op: string;
  /** '' is an optional input that is not given. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes?: Readonly<Record<string, Attribute>>;
  /** The operator is one of ONNX Runtime's own, not of the standard. */
  readonly microsoft?: boolean;
}

/** One number, or a list of them. */
export interface Constant {
  readonly type: 'float64' | 'int64';
  readonly value: number | readonly number[];
}

export interface Graph {
  readonly nodes: readonly Node[];
  readonly inputs: Readonly<Record<string, ElementType>>;
  readonly outputs: Readonly<Record<string, ElementType>>;
  /** Dimensions of outputs, by name; a graph inside a Scan must state them, with sizes left open. */
  readonly ranks?: Readonly<Record<string, number>>;
  /** Numbers that stand in the model; also seen by the graphs inside its nodes. */
  readonly constants?: Readonly<Record<string, Constant>>;
}

/** One node, y = op(inputs). */
export function node(
  op: string,
  inputs: readonly string[],
  output: string,
  attributes: Readonly<Record<string, Attribute>> = {},
): Node {
  return { op, inputs, outputs: [output], attributes };
}

function valueRecords(types: Graph['inputs'], ranks: Graph['ranks'] = {}): object[] {
  return Object.entries(types).map(([name, type]) => {
    const rank = ranks[name];
    // Sizes that have names of their own can be any.
    const dim = Array.from({ length: rank ?? 0 }, (_, axis) => ({ dimParam: `${name}_${axis}` }));
    const shape = rank === undefined ? {} : { shape: { dim } };
    return { name, type: { tensorType: { elemType: DATA_TYPE[type], ...shape } } };
  });
}

function attributeRecord(name: string, attribute: Attribute): object {
  if ('float' in attribute) return { name, type: ATTRIBUTE_TYPE.float, f: attribute.float };
  if ('int' in attribute) return { name, type: ATTRIBUTE_TYPE.int, i: attribute.int };
  if ('ints' in attribute) return { name, type: ATTRIBUTE_TYPE.ints, ints: attribute.ints };
  return { name, type: ATTRIBUTE_TYPE.graph, g: graphRecord(attribute.graph) };
}

function constantRecord(name: string, { type, value }: Constant): object {
  const numbers = typeof value === 'number' ? [value] : value;
  const dims = typeof value === 'number' ? [] : [value.length];
  const data = type === 'float64' ? { doubleData: numbers } : { int64Data: numbers };
  return { name, dataType: DATA_TYPE[type], dims, ...data };
}

function graphRecord(graph: Graph): object {
  return {
    name: 'operator',
    node: graph.nodes.map(({ op, inputs, outputs, attributes, microsoft }) => ({
      opType: op,
      domain: microsoft ? 'com.microsoft' : '',
      input: inputs,
      output: outputs,
      attribute: Object.entries(attributes ?? {}).map(([name, attribute]) =>
        attributeRecord(name, attribute),
      ),
    })),
    input: valueRecords(graph.inputs),
    output: valueRecords(graph.outputs, graph.ranks),
    initializer: Object.entries(graph.constants ?? {}).map(([name, constant]) =>
      constantRecord(name, constant),
    ),
  };
}

/** The model, as the records of ONNX's ModelProto: operator set 23, the first with RMSNormalization and Attention. */
export function modelRecord(graph: Graph): object {
  return {
    irVersion: 10,
    opsetImport: [
      { domain: '', version: 23 },
      { domain: 'com.microsoft', version: 1 },
    ],
    graph: graphRecord(graph),
  };
}
