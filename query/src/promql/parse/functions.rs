//! The functions of the language and what they take.

/// The type of an expression's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    /// One number at each step.
    Scalar,
    /// A string.
    String,
    /// Series with one sample at each step.
    Vector,
    /// Series with a range of samples at each step.
    Matrix,
}

impl ValueType {
    /// As the manual calls it.
    #[must_use]
    pub fn documented(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
        }
    }

    /// As the HTTP API calls it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "vector",
            Self::Matrix => "matrix",
        }
    }
}

/// What a function takes and gives.
#[derive(Debug, PartialEq)]
pub struct Signature {
    /// Which one.
    pub function: Function,
    /// Its name in a query.
    pub name: &'static str,
    /// The types of its arguments; the last one repeats if it is variadic.
    pub args: &'static [ValueType],
    /// 0: all arguments must be given. n: the last type may be given 0 to n times. -1: any number of times.
    pub variadic: i8,
    /// The type of its value.
    pub returns: ValueType,
    /// Whether it is not yet a settled part of the language.
    pub experimental: bool,
}

macro_rules! functions {
    ($($(#[$flag:ident])? $function:ident $name:literal ($($arg:ident)*) $variadic:literal -> $returns:ident;)*) => {
        /// Every function of the language; named as in a query.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "each is named as in a query, and the language's manual says what it does")]
        pub enum Function { $($function,)* }

        /// In the order of their names.
        static SIGNATURES: &[Signature] = &[$(Signature {
            function: Function::$function,
            name: $name,
            args: &[$(ValueType::$arg),*],
            variadic: $variadic,
            returns: ValueType::$returns,
            experimental: functions!(@flag $($flag)?),
        },)*];
    };
    (@flag experimental) => { true };
    (@flag) => { false };
}

functions! {
    Abs "abs" (Vector) 0 -> Vector;
    Absent "absent" (Vector) 0 -> Vector;
    AbsentOverTime "absent_over_time" (Matrix) 0 -> Vector;
    Acos "acos" (Vector) 0 -> Vector;
    Acosh "acosh" (Vector) 0 -> Vector;
    Asin "asin" (Vector) 0 -> Vector;
    Asinh "asinh" (Vector) 0 -> Vector;
    Atan "atan" (Vector) 0 -> Vector;
    Atanh "atanh" (Vector) 0 -> Vector;
    AvgOverTime "avg_over_time" (Matrix) 0 -> Vector;
    Ceil "ceil" (Vector) 0 -> Vector;
    Changes "changes" (Matrix) 0 -> Vector;
    Clamp "clamp" (Vector Scalar Scalar) 0 -> Vector;
    ClampMax "clamp_max" (Vector Scalar) 0 -> Vector;
    ClampMin "clamp_min" (Vector Scalar) 0 -> Vector;
    Cos "cos" (Vector) 0 -> Vector;
    Cosh "cosh" (Vector) 0 -> Vector;
    CountOverTime "count_over_time" (Matrix) 0 -> Vector;
    DayOfMonth "day_of_month" (Vector) 1 -> Vector;
    DayOfWeek "day_of_week" (Vector) 1 -> Vector;
    DayOfYear "day_of_year" (Vector) 1 -> Vector;
    DaysInMonth "days_in_month" (Vector) 1 -> Vector;
    Deg "deg" (Vector) 0 -> Vector;
    Delta "delta" (Matrix) 0 -> Vector;
    Deriv "deriv" (Matrix) 0 -> Vector;
    #[experimental] DoubleExponentialSmoothing "double_exponential_smoothing" (Matrix Scalar Scalar) 0 -> Vector;
    #[experimental] End "end" () 0 -> Scalar;
    Exp "exp" (Vector) 0 -> Vector;
    FirstOverTime "first_over_time" (Matrix) 0 -> Vector;
    Floor "floor" (Vector) 0 -> Vector;
    HistogramAvg "histogram_avg" (Vector) 0 -> Vector;
    HistogramCount "histogram_count" (Vector) 0 -> Vector;
    HistogramFraction "histogram_fraction" (Scalar Scalar Vector) 0 -> Vector;
    HistogramQuantile "histogram_quantile" (Scalar Vector) 0 -> Vector;
    #[experimental] HistogramQuantiles "histogram_quantiles" (Vector String Scalar Scalar) 9 -> Vector;
    HistogramStddev "histogram_stddev" (Vector) 0 -> Vector;
    HistogramStdvar "histogram_stdvar" (Vector) 0 -> Vector;
    HistogramSum "histogram_sum" (Vector) 0 -> Vector;
    Hour "hour" (Vector) 1 -> Vector;
    Idelta "idelta" (Matrix) 0 -> Vector;
    Increase "increase" (Matrix) 0 -> Vector;
    #[experimental] Info "info" (Vector Vector) 1 -> Vector;
    Irate "irate" (Matrix) 0 -> Vector;
    LabelJoin "label_join" (Vector String String String) -1 -> Vector;
    LabelReplace "label_replace" (Vector String String String String) 0 -> Vector;
    LastOverTime "last_over_time" (Matrix) 0 -> Vector;
    Ln "ln" (Vector) 0 -> Vector;
    Log10 "log10" (Vector) 0 -> Vector;
    Log2 "log2" (Vector) 0 -> Vector;
    #[experimental] MadOverTime "mad_over_time" (Matrix) 0 -> Vector;
    #[experimental] MaxOf "max_of" (Scalar Scalar) 0 -> Scalar;
    MaxOverTime "max_over_time" (Matrix) 0 -> Vector;
    #[experimental] MinOf "min_of" (Scalar Scalar) 0 -> Scalar;
    MinOverTime "min_over_time" (Matrix) 0 -> Vector;
    Minute "minute" (Vector) 1 -> Vector;
    Month "month" (Vector) 1 -> Vector;
    Pi "pi" () 0 -> Scalar;
    PredictLinear "predict_linear" (Matrix Scalar) 0 -> Vector;
    PresentOverTime "present_over_time" (Matrix) 0 -> Vector;
    QuantileOverTime "quantile_over_time" (Scalar Matrix) 0 -> Vector;
    Rad "rad" (Vector) 0 -> Vector;
    #[experimental] Range "range" () 0 -> Scalar;
    Rate "rate" (Matrix) 0 -> Vector;
    Resets "resets" (Matrix) 0 -> Vector;
    Round "round" (Vector Scalar) 1 -> Vector;
    Scalar "scalar" (Vector) 0 -> Scalar;
    Sgn "sgn" (Vector) 0 -> Vector;
    Sin "sin" (Vector) 0 -> Vector;
    Sinh "sinh" (Vector) 0 -> Vector;
    Sort "sort" (Vector) 0 -> Vector;
    #[experimental] SortByLabel "sort_by_label" (Vector String) -1 -> Vector;
    #[experimental] SortByLabelDesc "sort_by_label_desc" (Vector String) -1 -> Vector;
    SortDesc "sort_desc" (Vector) 0 -> Vector;
    Sqrt "sqrt" (Vector) 0 -> Vector;
    #[experimental] Start "start" () 0 -> Scalar;
    #[experimental] StartTimestamp "start_timestamp" (Vector) 0 -> Vector;
    StddevOverTime "stddev_over_time" (Matrix) 0 -> Vector;
    StdvarOverTime "stdvar_over_time" (Matrix) 0 -> Vector;
    #[experimental] Step "step" () 0 -> Scalar;
    SumOverTime "sum_over_time" (Matrix) 0 -> Vector;
    Tan "tan" (Vector) 0 -> Vector;
    Tanh "tanh" (Vector) 0 -> Vector;
    Time "time" () 0 -> Scalar;
    Timestamp "timestamp" (Vector) 0 -> Vector;
    #[experimental] TsOfFirstOverTime "ts_of_first_over_time" (Matrix) 0 -> Vector;
    #[experimental] TsOfLastOverTime "ts_of_last_over_time" (Matrix) 0 -> Vector;
    #[experimental] TsOfMaxOverTime "ts_of_max_over_time" (Matrix) 0 -> Vector;
    #[experimental] TsOfMinOverTime "ts_of_min_over_time" (Matrix) 0 -> Vector;
    Vector "vector" (Scalar) 0 -> Vector;
    Year "year" (Vector) 1 -> Vector;
}

/// The function of that name.
pub(super) fn lookup(name: &str) -> Option<&'static Signature> {
    SIGNATURES.binary_search_by_key(&name, |s| s.name).ok().map(|at| &SIGNATURES[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_is_found_by_its_name() {
        assert!(SIGNATURES.windows(2).all(|w| w[0].name < w[1].name));
        for signature in SIGNATURES {
            assert_eq!(lookup(signature.name), Some(signature));
        }
        assert_eq!(lookup("holt_winters"), None);
    }
}
